"""Training for a number of hours: how many epochs are set, and that they are set once."""

import contextlib
import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yolox_jax.config import Config, ConfigError, DataConfig, EvaluationConfig, ScheduleConfig, TrainConfig
from yolox_jax.config.files import run_settings
from yolox_jax.training import timed_run
from yolox_jax.training.callbacks import StopTraining, TrainingEvent
from yolox_jax.training.checkpoints import Progress
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.timed_run import StepTimer, fitting_epochs, train_for_hours
from yolox_jax.training.trainer import TrainingResult

CONFIG = Config(
    data=DataConfig(input_size=(320, 320)),
    schedule=ScheduleConfig(100, 5.0, 10),
    train=TrainConfig(batch_size=10, multiscale_px=None),
    evaluation=EvaluationConfig(interval=10),
)


def report(step: int, images_per_second: float, height: int = 320) -> TrainingEvent:
    metrics = {"images_per_second": images_per_second, "input_height": height, "input_width": height}
    return TrainingEvent("step", step, step / 50, metrics, None)


def timed(*rates: float, height: int = 320) -> StepTimer:
    timer = StepTimer(seconds_per_step=1.0, steps=20, steps_per_epoch=50)
    timer.seconds_per_pixel = [1 / (rate * height**2) for rate in rates]
    return timer


def test_steps_are_timed_from_the_second_report_on_for_long_enough(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 15.0, 25.0, 30.0])
    monkeypatch.setattr(timed_run, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    timer = StepTimer()
    timer(TrainingEvent("checkpoint", 5, 0.1, {}, Path("5")))
    timer(report(10, 1.0))
    timer(report(20, 40.0))
    with pytest.raises(StopTraining):
        timer(report(30, 60.0))
    assert timer.is_done and (timer.steps, timer.steps_per_epoch) == (30, 50)
    assert timer.seconds_per_pixel == [1 / (40 * 320**2), 1 / (60 * 320**2)]
    assert timer.seconds_per_step == (25 - 0) / 20


def seconds_of(config: Config, epochs: int) -> float:
    """Time from step 20 to the end of a run at 10 images a second (1 s a step), an evaluation taking 2 s."""
    last = int(epochs / 10 + 0.5)  # epochs without mosaic, each of which is evaluated after
    evaluations = {epoch for epoch in range(1, epochs + 1) if epoch % 10 == 0 or epoch > epochs - last}
    return epochs * 50 - 20 + 2 * len(evaluations)


@pytest.mark.parametrize("epochs", [20, 50, 137])
def test_the_epochs_fit_with_their_evaluations_and_one_more_would_not(epochs):
    timer, seconds = timed(10.0, 10.0, 1.0), seconds_of(CONFIG, epochs)
    assert fitting_epochs(CONFIG, timer, 40, seconds + 0.01) == epochs
    assert fitting_epochs(CONFIG, timer, 40, seconds - 0.01) == epochs - 1


def test_one_epoch_is_the_least():
    assert fitting_epochs(CONFIG, timed(10.0, 10.0), 40, 1.0) == 1
    assert fitting_epochs(CONFIG, timed(10.0, 10.0), 40, -1.0) == 1


def test_times_at_one_size_stand_for_those_of_all_sizes():
    train = dataclasses.replace(CONFIG.train, multiscale_px=(320, 640))
    config = dataclasses.replace(CONFIG, train=train, evaluation=EvaluationConfig(interval=1000))
    mean = sum(height**2 for height in range(320, 641, 32)) / 11
    seconds = (30 * 50 - 20) * mean / 320**2
    assert fitting_epochs(config, timed(10.0, 10.0), 0, seconds * 1.001) == 30


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """The calls of `train`, which here records its config and calls its callbacks with ten images a second."""
    calls: list[dict[str, Any]] = []

    def train(config: Config, *, workdir: Path, callbacks: Any = (), **settings: Any) -> TrainingResult:
        calls.append({"epochs": config.schedule.epochs, **settings})
        RunDirectory(workdir).config.write_text(json.dumps(run_settings(config)))
        with contextlib.suppress(StopTraining):
            for step in range(10, 50, 10):
                for callback in callbacks:
                    callback(report(step, 10.0))
        return TrainingResult(workdir, Progress())

    monkeypatch.setattr(timed_run, "train", train)
    monkeypatch.setattr(timed_run, "TIMED_SECONDS", 0.0)
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(timed_run, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(
        timed_run, "open_datasets", lambda data, which: dataclasses.make_dataclass("D", ["records"])([])
    )
    return calls


def test_the_number_of_epochs_is_set_once_and_then_resumed_with(starts, tmp_path):
    train_for_hours(CONFIG, 0.5, workdir=tmp_path)
    epochs = starts[1]["epochs"]
    assert [call["epochs"] for call in starts] == [100, epochs] and 30 <= epochs <= 37
    assert [(call["resume"], call.get("extend", False)) for call in starts] == [(False, False), (True, True)]
    train_for_hours(CONFIG, 0.5, workdir=tmp_path, resume=True)
    assert starts[2] == {"epochs": epochs, "resume": True, "extend": False, "auto_batch_size": False}
    with pytest.raises(ConfigError, match=rf"started with --hours 0.5, which gave {epochs} epochs. .* --extend"):
        train_for_hours(CONFIG, 2.0, workdir=tmp_path, resume=True)


def test_a_run_killed_before_its_steps_were_timed_times_them_again(starts, tmp_path):
    train_for_hours(CONFIG, 0.5, workdir=tmp_path)
    RunDirectory(tmp_path).duration.unlink()
    train_for_hours(CONFIG, 0.5, workdir=tmp_path, resume=True)
    assert starts[2]["resume"] and RunDirectory(tmp_path).duration.exists()


def test_a_run_that_ends_before_its_steps_are_timed_is_done(starts, tmp_path, monkeypatch):
    monkeypatch.setattr(timed_run, "TIMED_SECONDS", 1e9)
    train_for_hours(CONFIG, 0.5, workdir=tmp_path)
    assert len(starts) == 1 and not RunDirectory(tmp_path).duration.exists()


@pytest.mark.parametrize("hours", [0.0, -1.0, float("inf"), float("nan")])
def test_hours_that_are_none_are_refused(hours, tmp_path):
    with pytest.raises(ConfigError, match="--hours must be finite and above 0"):
        train_for_hours(CONFIG, hours, workdir=tmp_path)
