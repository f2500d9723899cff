"""Trains for a number of hours: times the first steps of a run, and sets its number of epochs once."""

import bisect
import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import jax
import numpy as np

from yolox_jax.config import Config, ConfigError, ScheduleConfig, scale_schedule
from yolox_jax.data.sources import open_datasets
from yolox_jax.files import atomic_write, write_json
from yolox_jax.training.callbacks import StopTraining, TrainingEvent
from yolox_jax.training.distributed import agree
from yolox_jax.training.run_directory import RunDirectory, recorded_config
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.multiscale import size_of
from yolox_jax.training.trainer import TrainingResult, train

TIMED_SECONDS = 20.0
"""Time over which steps are timed, at least."""

EVALUATION_COST = 0.5
"""Assumed time of evaluating an image, relative to training on one of that size: a forward pass, the loss, and the
metrics."""


@dataclasses.dataclass
class StepTimer:
    """A callback that times steps, from the second report on, and then ends the run."""

    seconds_per_pixel: list[float] = dataclasses.field(default_factory=list)
    """Of one image, for each report. Without pauses, such as waiting for the step to be compiled."""
    seconds_per_step: float = 0.0
    """With pauses, such as checkpoints at the end of each epoch."""
    steps: int = 0
    """Steps done at the last report; 0 before the first."""
    steps_per_epoch: int = 0
    is_done: bool = False
    _first: tuple[int, float] = (0, 0.0)
    """Step and time of the first report."""

    def __call__(self, event: TrainingEvent) -> None:
        """Notes the rate of a report; ends the run after enough of them."""
        if event.kind != "step":
            return
        now = time.monotonic()
        if self.steps:
            pixels = event.metrics["input_height"] * event.metrics["input_width"]
            self.seconds_per_pixel.append(1 / (event.metrics["images_per_second"] * pixels))
            self.seconds_per_step = (now - self._first[1]) / (event.step - self._first[0])
        else:  # the first interval is slower: images are loaded for the first time
            self._first = event.step, now
        self.steps, self.steps_per_epoch = event.step, round(event.step / event.epoch)
        self.is_done = len(self.seconds_per_pixel) > 1 and now - self._first[1] >= TIMED_SECONDS
        if self.is_done:
            raise StopTraining


def fitting_epochs(config: Config, timer: StepTimer, num_val_images: int, seconds: float) -> int:
    """The largest number of epochs that ends within `seconds` from now, evaluations included; at least 1.

    Args:
        config: the config of the run, whose schedule is scaled to the number of epochs.
        timer: what the steps of the run so far took.
        num_val_images: number of validation images.
        seconds: time left.
    """
    per_pixel = float(np.median(timer.seconds_per_pixel))
    if config.train.multiscale_px is None:
        step_seconds = timer.seconds_per_step
    else:  # whose pauses are mostly for compiling other sizes, which ends
        step_seconds = per_pixel * _mean_pixels(config) * config.train.batch_size
    evaluation_seconds = EVALUATION_COST * per_pixel * math.prod(config.data.input_size) * num_val_images

    def needed(epochs: int) -> float:
        scaled = dataclasses.replace(config, schedule=scale_schedule(config.schedule, epochs))
        schedule = RunSchedule(scaled, 1)
        evaluations = sum(schedule.evaluates_after(epoch) for epoch in range(epochs))
        steps_left = epochs * timer.steps_per_epoch - timer.steps
        return steps_left * step_seconds + evaluations * evaluation_seconds

    most = int((seconds / step_seconds + timer.steps) / timer.steps_per_epoch) + 1
    return max(bisect.bisect_right(range(1, most + 1), seconds, key=needed), 1)


def _mean_pixels(config: Config) -> float:
    """Mean number of pixels of the inputs in a run."""
    base, range_px, stride = config.data.input_size, config.train.multiscale_px, config.model.strides[-1]
    heights = [] if range_px is None else range(range_px[0], range_px[1] + 1, stride)
    sizes = [size_of(height, base, stride) for height in heights] or [base]
    return float(np.mean([math.prod(size) for size in sizes]))


def train_for_hours(
    config: Config, hours: float, *, workdir: Path, resume: bool = False, auto_batch_size: bool = False
) -> TrainingResult:
    """Trains for about `hours`, compilation and evaluations included.

    The run starts with the schedule of the config. Its first steps, early in the warm-up, are timed. Then the schedule
    is scaled to the number of epochs that fits, once, and the run goes on as an extended one. A run that is killed
    before times its steps again; afterwards it resumes exactly, with the number that was set.

    Args:
        config: config of the run; `schedule.epochs` is replaced.
        hours: duration in hours, from this call on.
        workdir: run directory.
        resume: continue the run in it.
        auto_batch_size: as for `train`.

    Raises:
        ConfigError: `hours` is not above 0, or not those that the run was started with; and what `train` raises.
    """
    if not 0 < hours < math.inf:
        raise ConfigError(f"--hours must be finite and above 0, got {hours:g}")
    started, run = time.monotonic(), RunDirectory(workdir)
    schedule = _recorded_schedule(run, hours) if resume else None
    if schedule is None:
        timer = StepTimer()
        result = train(config, workdir=workdir, resume=resume, auto_batch_size=auto_batch_size, callbacks=[timer])
        timed = recorded_config(run)  # with the batch size
        left = 3600 * hours - (time.monotonic() - started)
        val_images = len(open_datasets(config.data, "val").records)
        # Only the first process has timed its steps.
        epochs = agree(fitting_epochs(timed, timer, val_images, left) if timer.is_done else 0)
        if not epochs:  # the run has ended before
            return result
        schedule = scale_schedule(timed.schedule, epochs)
        _record_schedule(run, hours, schedule)
    config = dataclasses.replace(config, schedule=schedule)
    is_new = recorded_config(run).schedule != schedule
    return train(config, workdir=workdir, resume=True, extend=is_new, auto_batch_size=auto_batch_size)


def _record_schedule(run: RunDirectory, hours: float, schedule: ScheduleConfig) -> None:
    if jax.process_index() == 0:
        with atomic_write(run.duration) as temporary:
            write_json(temporary, {"hours": hours, "schedule": dataclasses.asdict(schedule)}, indent=2)
        print(f"--hours {hours:g}: {schedule.epochs} epochs", file=sys.stderr, flush=True)
    agree(0)  # the others go on once it is recorded


def _recorded_schedule(run: RunDirectory, hours: float) -> ScheduleConfig | None:
    """The schedule that was set in an earlier start of the run; None if it was not."""
    if not run.duration.exists():
        return None
    recorded = json.loads(run.duration.read_text())
    schedule = recorded["schedule"]
    if recorded["hours"] != hours:
        raise ConfigError(
            f"--hours {hours:g}: the run in {run.root} was started with --hours {recorded['hours']:g}, which gave "
            f"{schedule['epochs']} epochs. Pass these hours, or --extend and --schedule.epochs for another length"
        )
    return ScheduleConfig(**{**schedule, "milestones": tuple(schedule["milestones"])})
