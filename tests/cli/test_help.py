"""The help of commands with a config reads well and lists what the command uses."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_jax.cli import main as cli_main
from yolox_jax.cli.help import WIDEST
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config
from yolox_jax.config.files import shipped_configs
from yolox_jax.config.serialization import config_to_dict, flatten
from yolox_jax.config.serialization import flag as as_flag


@dataclasses.dataclass(frozen=True)
class Extra:
    """Flags of a command."""

    weights: Path
    """Weights to score."""
    resume: bool = False
    """Go on."""


def parse(*words: str) -> tuple[Extra, Config]:
    return parse_with_config(Extra, [*words], prog="test", description="Test.")


def test_help_shows_settings_with_their_meaning_and_the_defaults_of_the_config(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--config", "yolox_nano", "--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--weights WEIGHTS Weights to score. (required)" in text
    assert (
        "--data.input-size H W Height and width of the network input in px, multiples of 32. (default: 416 416)" in text
    )
    assert "those of yolox_nano" in text


@pytest.mark.parametrize("columns", [80, 120])
def test_help_is_wrapped_to_the_terminal_without_marks_of_colour(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse("--config", "yolox_nano", "--help-all")
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(len(line) for line in lines if "datasets/COCO/annotations" not in line) <= columns
    assert text.isascii() and "\x1b" not in text and "`" not in text
    start = next(place for place, line in enumerate(lines) if "--model.weights WEIGHTS" in line)
    assert min(len(line) for line in lines[start : start + 4]) > min(columns, WIDEST) - 20, lines[start : start + 5]


def test_help_shows_the_common_settings_and_help_all_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as caught:
            cli_main.main(["train", "--config", "yolox_nano", flag])
        assert caught.value.code == 0
        shown[flag] = capsys.readouterr().out
    brief, full = shown["--help"], shown["--help-all"]
    assert len(brief.splitlines()) <= 80
    for name in ("config", "data", "workdir", "resume", "data.train.format", "data.train.images", "train.batch-size"):
        assert f"  --{name} " in brief
    for name in ("schedule.epochs", "optimizer.lr", "model.weights", "model.freeze", "train.precision"):
        assert f"  --{name} " in brief
    assert "--loss." not in brief and "--coordinator" not in brief
    assert "yolox-jax train --help-all lists" in brief
    for name in flatten(config_to_dict(Config())):
        if not name.startswith("data.more_"):
            assert f"  {as_flag(name)} " in full
    assert "--coordinator" in full and "{None}" not in full


@pytest.mark.parametrize(
    ("command", "used", "unused"),
    [
        (
            ["evaluate"],
            ("--evaluation.iou-threshold", "--data.channels", "--data.bits"),
            ("--optimizer.", "--schedule.", "--train.", "--data.train."),
        ),
        (["memory"], ("--train.rematerialise",), ("--optimizer.lr", "--loss.", "--data.train.", "--evaluation.")),
        (["profile"], ("--train.precision",), ("--optimizer.lr", "--loss.", "--data.train.", "--evaluation.")),
        (
            ["data", "check"],
            ("--data.max-boxes", "--data.channels", "--data.bits"),
            ("--optimizer.", "--loss.", "--train.", "--model."),
        ),
        (
            ["data", "preview"],
            ("--data.augment.degrees", "--data.channels", "--data.bits"),
            ("--optimizer.", "--loss.", "--model.", "--data.val"),
        ),
        (["data", "suspects"], ("--model.strides", "--data.channels", "--data.bits"), ("--loss.", "--train.")),
        (
            ["visualize-assignment"],
            ("--assignment.iou-cost", "--data.channels", "--data.bits"),
            ("--optimizer.", "--loss.", "--evaluation.", "--data.val"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_help_of_a_command_lists_the_settings_that_it_uses(
    capsys: pytest.CaptureFixture[str], command: list[str], used: tuple[str, ...], unused: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        cli_main.main([*command, "--help-all"])
    text = capsys.readouterr().out
    assert not [name for name in used if f"  {name} " not in text]
    assert not [name for name in unused if f"  {name}" in text]


def test_help_without_a_config_names_the_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "(required)" in text
    assert all(name in text for name in shipped_configs() if "/" not in name)
    assert "roadmap/..." in text


HELP_ALONE = """
import contextlib, io, sys
from yolox_jax.cli import data, main

commands = [[], *([name] for name in main.COMMANDS), *(["data", name] for name in data.COMMANDS)]
for command in commands:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main.main([*command, "--help"])
    loaded = {"jax", "flax", "numpy", "cv2", "PIL", "matplotlib", "grain"} & sys.modules.keys()
    assert not loaded, f"{command} loads {loaded}"
    assert " ".join(["usage: yolox-jax", *command]) in printed.getvalue(), printed.getvalue()
"""


def test_help_of_every_command_waits_neither_for_jax_nor_for_opencv() -> None:
    done = subprocess.run([sys.executable, "-c", HELP_ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
