import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_jax.cli import main as cli_main
from yolox_jax.cli import train as cli_train
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError, DatasetConfig
from yolox_jax.config.files import load_config, shipped_configs
from yolox_jax.config.serialization import config_to_dict


@dataclasses.dataclass(frozen=True)
class Extra:
    """Flags of a command."""

    weights: Path
    """Weights to score."""
    resume: bool = False
    """Go on."""


def parse(*words: str) -> tuple[Extra, Config]:
    return parse_with_config(Extra, [*words], prog="test", description="Test.")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The message of a command line that is refused with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        parse("--config", "yolox_nano", "--weights", "w", *words)
    assert caught.value.code == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_without_flags_the_settings_are_those_of_the_config() -> None:
    extra, config = parse("--config", "yolox_nano", "--weights", "w.pth")
    assert extra == Extra(weights=Path("w.pth"))
    assert config == load_config("yolox_nano")


def test_flags_change_settings_wherever_they_stand() -> None:
    words = "--seed 3 --data.train.format voc --data.input-size 320 640 --config=yolox_nano --schedule.no-aug-epochs 4"
    words += " --train.multiscale-px None --evaluation.score-threshold 0.001 --weights w --resume"
    words += " --train.sync-batch-norm True"
    extra, config = parse(*words.split())
    assert extra.resume
    assert config.seed == 3
    assert config.data.train.format == "voc"
    assert config.data.input_size == (320, 640)
    assert config.schedule.no_aug_epochs == 4
    assert config.train.multiscale_px is None
    assert config.train.sync_batch_norm is True
    assert config.evaluation.score_threshold == 0.001
    assert config.data.augment == load_config("yolox_nano").data.augment


def test_help_shows_settings_with_their_meaning_and_the_defaults_of_the_config(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--config", "yolox_nano", "--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--weights PATH Weights to score. (required)" in text
    assert "multiples of 32. (default: 416 416)" in text
    assert "those of yolox_nano" in text


def test_help_texts_flow_over_the_lines_of_their_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--config", "yolox_nano", "--help")
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    start = lines.index("--model.weights STR") + 1
    help_text = lines[start : start + 4]
    assert min(map(len, help_text[:-1])) > 60, help_text


@pytest.mark.parametrize("flags", ["--data.train.format yolo", "--data.train.format=yolo"])
def test_paths_of_a_config_do_not_outlive_a_change_of_format(flags: str) -> None:
    words = [*flags.split(), "--data.train.annotations", "mine/data.yaml", "--data.val.format", "coco"]
    _, config = parse("--config", "yolox_s", "--weights", "w", *words)
    assert config.data.train == DatasetConfig(format="yolo", annotations="mine/data.yaml")
    assert config.data.val == load_config("yolox_s").data.val


def test_help_without_a_config_names_the_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "(required)" in text
    assert all(name in text for name in shipped_configs())


def test_missing_config_is_refused_with_the_shipped_names() -> None:
    with pytest.raises(ConfigError, match=r"--config is required.*quickstart"):
        parse("--weights", "w")
    with pytest.raises(ConfigError, match=r"--config has no value.*quickstart"):
        parse("--weights", "w", "--config")


def test_unknown_flag_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "--data.input-sise", "640", "640")
    assert "--data.input-sise" in message
    assert "--data.input-size INT INT" in message


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--data.input-size", "640", "tall"), "--data.input-size"),
        (("--data.input-size", "640"), "--data.input-size"),
        (("--schedule.epochs", "2.5"), "--schedule.epochs"),
        (("--data.val.format", "cocoo"), "--data.val.format"),
    ],
)
def test_value_of_a_wrong_type_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], name: str
) -> None:
    message = refused(capsys, *words)
    assert name in message
    assert words[-1] in message or "Expected 2 values" in message


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="--data.input-size must be positive multiples of 32, got 416 420"):
        parse("--config", "yolox_nano", "--weights", "w", "--data.input-size", "416", "420")


@pytest.mark.parametrize(
    "words",
    [
        ["train"],
        ["train", "--config", "nowhere/x.py"],
        ["train", "--config", "yolox_nano", "--data.input-size", "416", "420"],
    ],
)
def test_command_with_a_mistake_ends_with_code_2_and_one_message(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert cli_main.main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


def test_error_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(argv: list[str]) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(cli_train, "main", broken)
    with pytest.raises(ValueError, match="a bug"):
        cli_main.main(["train"])


def test_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli_main.main(["trane"])
    assert caught.value.code == 2
    assert "'train', 'evaluate', 'predict'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "workdir", "resume"),
    [
        ("", "runs/yolox_nano", False),
        ("--workdir elsewhere --resume", "elsewhere", True),
        ("--workdir=~/runs/1", str(Path.home() / "runs" / "1"), False),
    ],
)
def test_train_runs_in_the_folder_asked_for_or_one_named_after_the_config(
    monkeypatch: pytest.MonkeyPatch, words: str, workdir: str, resume: bool
) -> None:
    trainer = pytest.importorskip("yolox_jax.training.trainer")
    calls = []
    monkeypatch.setattr(trainer, "train", lambda config, **keywords: calls.append((config, keywords)))
    path = str(shipped_configs()["yolox_nano"])
    assert cli_main.main(["train", "--config", path, *words.split()]) == 0
    assert calls == [(load_config("yolox_nano"), {"workdir": Path(workdir), "resume": resume})]


def test_train_goes_on_in_the_run_that_its_config_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trainer = pytest.importorskip("yolox_jax.training.trainer")
    calls = []
    monkeypatch.setattr(trainer, "train", lambda config, **keywords: calls.append((config, keywords)))
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "yolox_nano"):
        Path(name).mkdir()
        (Path(name) / "config.json").write_text(json.dumps(config_to_dict(dataclasses.replace(Config(), seed=7))))
    for name, seed, workdir in (
        ("mine", 7, "mine"),
        ("mine/config.json", 7, "mine"),
        ("yolox_nano", 0, "runs/yolox_nano"),  # the shipped one
    ):
        assert cli_main.main(["train", "--config", name, "--resume"]) == 0
        config, keywords = calls.pop()
        assert (config.seed, keywords["workdir"]) == (seed, Path(workdir))


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "yolox_jax", "data", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: yolox-jax data" in done.stdout


def test_help_does_not_wait_for_jax() -> None:
    script = (
        "import sys\nfrom yolox_jax.cli.main import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--schedule.no-aug-epochs" in done.stdout
