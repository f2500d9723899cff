"""The commands in the documentation exist, with the flags and configs that they are given."""

import contextlib
import functools
import io
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolox_jax.cli import data as cli_data
from yolox_jax.cli import main as cli_main
from yolox_jax.config.files import find_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

CODE_LINE = re.compile(
    r"^.*?(?P<program>python (?:-m yolox_jax|\w+\.py|(?:benchmarks|examples)/\w+\.py)|yolox-jax) (?P<rest>.*)"
)
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```|((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(yolox-jax [^`]+|python \w+\.py [^`]+)`")
FLAG = re.compile(r"--[a-z][\w.-]*[\w*]")


def documented(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands of a page: the program, and the words after it."""
    text = page.read_text()
    blocks = ["".join(filter(None, match.groups())) for match in BLOCK.finditer(text)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines += [" ".join(command.split()) for command in INLINE.findall(text)]
    for line in lines:
        if found := CODE_LINE.match(line):
            words = shlex.split(found["rest"].replace("'", "").replace('"', ""), comments=True)
            yield found["program"], [word.strip("[]|.,") for word in words]


@functools.cache
def flags_of(*command: str) -> set[str]:
    """The flags in the help of a command of yolox-jax."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        cli_main.main([*command, "--help-all"])
    return set(FLAG.findall(text.getvalue()))


def known_flags(program: str, words: list[str]) -> set[str]:
    script = program.removeprefix("python ")
    if script.startswith(("benchmarks/", "examples/")):
        files = [ROOT / script, ROOT / "benchmarks/common.py"]
        return set(FLAG.findall("".join(file.read_text() for file in files)))
    if script in ("yolox-jax", "-m yolox_jax"):
        return flags_of(*words[: 2 if words[0] == "data" else 1])
    if script.endswith("_runner.py"):
        files = [ROOT / "yolox_jax/export" / name for name in (script, "yolox_detection.py")]
        return set(FLAG.findall("".join(file.read_text() for file in files)))
    return flags_of(script.removesuffix(".py"))


def exists(program: str, words: list[str]) -> bool:
    """Whether there is such a command or script; flags are another matter."""
    if program in ("yolox-jax", "python -m yolox_jax"):
        return words[0] in cli_main.COMMANDS and (words[0] != "data" or words[1] in cli_data.COMMANDS)
    script = program.removeprefix("python ")
    return any((folder / script).is_file() for folder in (ROOT, ROOT / "yolox_jax/export"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    unknown = [f"{program} {' '.join(words)}" for program, words in documented(page) if not exists(program, words)]
    assert not unknown, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_of_commands_exist(page: Path) -> None:
    for program, words in documented(page):
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        unknown = flags - known_flags(program, words) - {"--help", "--help-all"}
        assert not unknown, f"{page.name}: `{program} {' '.join(words)}` has no flag {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configs_of_commands_exist(page: Path) -> None:
    for _, words in documented(page):
        for flag, value in itertools.pairwise(words):
            if flag == "--config" and re.fullmatch(r"[a-z][\w/]*", value) and not value.startswith("runs/"):
                find_config(value)


def test_commands_are_found_in_blocks_and_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Run `yolox-jax report\nruns/x` or\n\n"
        "    srun python train.py --config yolox_s \\\n        --resume  # go on\n\n"
        "```\nyolox-jax data check PATH [--quick]\n```\n"
    )
    assert sorted(documented(page)) == [
        ("python train.py", ["--config", "yolox_s", "--resume"]),
        ("yolox-jax", ["data", "check", "PATH", "--quick"]),
        ("yolox-jax", ["report", "runs/x"]),
    ]
