"""Command lines with a config are read as meant, and mistakes in them are explained."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from yolox_jax.cli import main as cli_main
from yolox_jax.cli import train as cli_train
from yolox_jax.cli.parsing import parse as parse_arguments
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError, DatasetConfig, peak_learning_rate
from yolox_jax.config.files import load_config
from yolox_jax.config.serialization import config_to_dict


@dataclasses.dataclass(frozen=True)
class Extra:
    """Flags of a command."""

    weights: Path
    """Weights to score."""
    resume: bool = False
    """Go on."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Arguments that follow each other."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Files."""
    size: tuple[int, int] | None = (32, 32)
    """Height and width."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Factors."""
    count: int | None = None
    """Number of files."""


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


@pytest.mark.parametrize(
    ("words", "size", "sources"),
    [
        ("--size 96 64 a.jpg b.jpg", (96, 64), ("a.jpg", "b.jpg")),
        ("a.jpg --size=96 64 b.jpg", (96, 64), ("a.jpg", "b.jpg")),
        ("--size None a.jpg", None, ("a.jpg",)),
        ("--size none -- --size 1 2", None, ("--size", "1", "2")),
        ("--zoom -1.5 .5 a.jpg", (32, 32), ("a.jpg",)),
    ],
)
def test_flag_with_a_fixed_number_of_values_leaves_what_follows(
    words: str, size: tuple[int, int] | None, sources: tuple[str, ...]
) -> None:
    arguments = parse_arguments(Sources, words.split(), prog="test", description="Test.")
    assert (arguments.size, arguments.sources) == (size, sources)
    assert arguments.zoom == ((-1.5, 0.5) if "--zoom" in words else (1.0, 1.0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size 96", "expected two integers, e.g. 416 640, or None; got 96"),
        ("--size 96 tall", "expected two integers, e.g. 416 640, or None; got 96 tall"),
        ("--size --zoom 1 1", "expected two integers, e.g. 416 640, or None; got nothing"),
        ("--zoom 1 wide", "expected two numbers, e.g. 0.5 1.5; got 1 wide"),
        ("--count 2.5", "expected an integer; got 2.5"),
    ],
)
def test_value_of_a_wrong_type_is_explained_in_words(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(Sources, words.split(), prog="test", description="Test.")
    assert caught.value.code == 2
    assert message in re.sub(r"[\s│|]+", " ", capsys.readouterr().err)


def test_booleans_are_read_in_any_case() -> None:
    _, config = parse("--config", "yolox_nano", "--weights", "w", "--evaluation.losses", "false")
    assert config.evaluation.losses is False


@pytest.mark.parametrize(
    ("words", "warmup", "no_aug"),
    [
        ("--schedule.epochs 60", 1.0, 3),
        ("--schedule.epochs 10", 0.167, 1),
        ("--schedule.epochs=600", 10.0, 30),
        ("--schedule.epochs 1", 0.0167, 0),
        ("--schedule.epochs 60 --schedule.warmup-epochs 0.5", 0.5, 3),
        ("--schedule.epochs 60 --schedule.no_aug_epochs 9", 1.0, 9),
        ("--schedule.epochs 2 --schedule.warmup-epochs 1", 1.0, 0),
        ("--schedule.epochs 300", 5.0, 15),
        ("", 5.0, 15),
    ],
)
def test_other_number_of_epochs_scales_the_phases_that_are_not_given(words: str, warmup: float, no_aug: int) -> None:
    _, config = parse("--config", "yolox_nano", "--weights", "w", *words.split())
    assert (config.schedule.warmup_epochs, config.schedule.no_aug_epochs) == (warmup, no_aug)


def test_scaled_schedule_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parse("--config", "yolox_nano", "--weights", "w", "--schedule.epochs", "60")
    expected = "scaled to --schedule.epochs 60: --schedule.warmup-epochs 5 -> 1, --schedule.no-aug-epochs 15 -> 3\n"
    assert capsys.readouterr().err == expected


def test_peak_learning_rate_is_given_as_such_or_per_image(tmp_path: Path) -> None:
    _, config = parse(
        *["--config", "yolox_nano", "--weights", "w", "--optimizer.lr", "0.02", "--train.batch-size", "8"]
    )
    assert peak_learning_rate(config) == 0.02
    (tmp_path / "config.json").write_text(json.dumps(config_to_dict(config)))
    _, config = parse("--config", str(tmp_path), *["--weights", "w", "--optimizer.lr-per-image", "0.001"])
    assert peak_learning_rate(config) == pytest.approx(0.008)
    with pytest.raises(ConfigError, match="--optimizer.lr and --optimizer.lr-per-image exclude each other"):
        parse("--config", "yolox_nano", "--weights", "w", "--optimizer.lr", "1", "--optimizer.lr-per-image", "1")


def test_adamw_comes_with_a_rate_and_a_decay_that_suit_it_unless_they_are_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    adamw = ["--config", "yolox_nano", "--weights", "w", "--optimizer.name", "adamw"]
    _, config = parse(*adamw)
    assert (config.optimizer.lr_per_image, config.optimizer.weight_decay) == pytest.approx((0.001 / 64, 0.05))
    assert "--optimizer.lr-per-image 0.00015625 -> 1.5625e-05, --optimizer.weight-decay 0.0005 -> 0.05" in (
        capsys.readouterr().err
    )
    _, config = parse(*adamw, "--optimizer.lr", "0.003", "--optimizer.weight-decay", "0.1")
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (0.003, 0.1)
    assert not capsys.readouterr().err


def test_another_schedule_survives_another_number_of_epochs() -> None:
    words = ["--config", "yolox_nano", "--weights", "w", "--schedule.epochs", "30", "--schedule.name", "multistep"]
    _, config = parse(*words, "--schedule.milestones", "10", "20", "--schedule.gamma", "0.5")
    assert config.schedule.milestones == (10.0, 20.0) and config.schedule.gamma == 0.5


@pytest.mark.parametrize("flags", ["--data.train.format yolo", "--data.train.format=yolo"])
def test_paths_of_a_config_do_not_outlive_a_change_of_format(flags: str) -> None:
    words = [*flags.split(), "--data.train.annotations", "mine/data.yaml", "--data.val.format", "coco"]
    _, config = parse("--config", "yolox_s", "--weights", "w", *words)
    assert config.data.train == DatasetConfig(format="yolo", annotations="mine/data.yaml")
    assert config.data.val == load_config("yolox_s").data.val


def test_missing_config_is_refused_with_the_shipped_names() -> None:
    with pytest.raises(ConfigError, match=r"--config is required.*quickstart"):
        parse("--weights", "w")
    with pytest.raises(ConfigError, match=r"--config has no value.*quickstart"):
        parse("--weights", "w", "--config")


def test_unknown_flag_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "--data.input-sise", "640", "640")
    assert "--data.input-sise" in message
    assert "--data.input-size H W" in message


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
    assert words[-1] in message


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
    assert "train, evaluate, predict" in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "yolox_jax", "data", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: yolox-jax data" in done.stdout


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (
            ["--imgsz", "320", "--lr0", "0.1"],
            ["for --imgsz, use --data.input-size H W", "for --lr0, use --optimizer.lr"],
        ),
        (["--batch=8"], ["for --batch, use --train.batch-size"]),
    ],
)
def test_flags_of_other_programs_are_told_their_names_here(words: list[str], hints: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("--config", "quickstart", "--weights", "w", *words)
    assert all(hint in str(caught.value) for hint in hints)
