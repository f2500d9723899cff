"""`train`: where it runs, what it resumes, and what it does without a config."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from yolox_jax.cli import main as cli_main
from yolox_jax.cli import train as cli_train
from yolox_jax.config import Config, ScheduleConfig
from yolox_jax.config.files import load_config, shipped_configs
from yolox_jax.config.serialization import config_to_dict


def test_resumed_run_keeps_its_schedule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trainer = pytest.importorskip("yolox_jax.training.trainer")
    configs = []
    monkeypatch.setattr(trainer, "train", lambda config, **keywords: configs.append(config))
    schedule = ScheduleConfig(epochs=60, warmup_epochs=5.0, no_aug_epochs=15)
    recorded = dataclasses.replace(load_config("yolox_nano"), schedule=schedule)
    (tmp_path / "config.json").write_text(json.dumps(config_to_dict(recorded)))
    words = ["train", "--config", "yolox_nano", "--schedule.epochs", "60", "--workdir", str(tmp_path), "--resume"]
    assert cli_main.main(words) == 0
    assert configs.pop().schedule == schedule
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    in_home = [word if word != str(tmp_path) else f"~/{tmp_path.name}" for word in words]
    assert cli_main.main(in_home) == 0
    assert configs.pop().schedule == schedule
    assert cli_main.main([*words, "--schedule.warmup-epochs", "2"]) == 0
    assert configs.pop().schedule == dataclasses.replace(schedule, warmup_epochs=2.0)
    assert cli_main.main(["train", "--config", str(tmp_path), "--resume"]) == 0
    assert configs.pop().schedule == schedule


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
    ((config, keywords),) = calls
    assert config == load_config("yolox_nano")
    assert (keywords["workdir"], keywords["resume"]) == (Path(workdir), resume)


@pytest.mark.parametrize("words", ["--train.batch-size auto", "--train.batch_size=auto"])
def test_the_batch_size_may_be_left_to_the_devices(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    trainer = pytest.importorskip("yolox_jax.training.trainer")
    calls = []
    monkeypatch.setattr(trainer, "train", lambda config, **keywords: calls.append(keywords))
    for given, expected in ((words, True), ("--train.batch-size 8", False)):
        assert cli_main.main(["train", "--config", "yolox_nano", *given.split(), "--resume"]) == 0
        assert calls.pop()["auto_batch_size"] == expected


@pytest.mark.parametrize("also", ["--schedule.epochs 4", "--resume --extend"])
def test_the_length_of_a_run_is_set_in_one_way(capsys: pytest.CaptureFixture[str], also: str) -> None:
    assert cli_main.main(["train", "--config", "yolox_nano", "--hours", "2", *also.split()]) == 2
    assert f"--hours and {also.removeprefix('--resume ').split()[0]} exclude each other" in capsys.readouterr().err


def test_an_extended_run_keeps_the_warm_up_that_lies_behind_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trainer = pytest.importorskip("yolox_jax.training.trainer")
    calls = []
    monkeypatch.setattr(trainer, "train", lambda config, **keywords: calls.append((config, keywords)))
    recorded = dataclasses.replace(load_config("yolox_nano"), schedule=ScheduleConfig(10, 0.5, 1))
    (tmp_path / "config.json").write_text(json.dumps(config_to_dict(recorded)))
    words = ["--resume", "--extend", "--schedule.epochs", "40"]
    assert cli_main.main(["train", "--config", str(tmp_path), *words]) == 0
    ((config, keywords),) = calls
    assert (config.schedule, keywords["extend"]) == (ScheduleConfig(40, 0.5, 4), True)


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


def test_a_dataset_without_a_config_is_fine_tuned_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "images").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("train: train/images\nval: val/images\nnames: [cat]\n")
    started: dict[str, Any] = {}
    monkeypatch.setattr(
        "yolox_jax.training.trainer.train", lambda config, **rest: started.update(config=config, **rest)
    )
    monkeypatch.setattr("yolox_jax.cli.published.fetch_if_published", lambda weights: None)
    monkeypatch.setattr("yolox_jax.cli.compilation.keep_compiled", lambda: None)
    cli_train.main(["--data", str(tmp_path)])
    recipe = load_config("finetune")
    assert started["config"].model == recipe.model and started["config"].schedule == recipe.schedule
    assert started["config"].data.train.annotations == str(tmp_path / "data.yaml")
    assert started["workdir"] == Path("runs/finetune")
