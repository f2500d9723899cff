"""The training loop: takes each step, then reports, saves and evaluates when due."""

import dataclasses
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
from jax.sharding import NamedSharding

from yolox_jax.config import Config, ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.image import BrokenImage
from yolox_jax.data.pipeline import HostBatch, TrainingBatches
from yolox_jax.text import counted
from yolox_jax.training.callbacks import Callback, StopTraining, TrainingEvent
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.compilation import CompiledStep, CompiledSteps, compilation_cache
from yolox_jax.training.distributed import agree_on_all
from yolox_jax.training.interruption import Interrupted, StopSignals
from yolox_jax.training.profiling.memory import out_of_memory_explained
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import to_devices
from yolox_jax.training.step.state import TrainState
from yolox_jax.training.validation import Validator

logger = logging.getLogger("yolox_jax.training")


@dataclasses.dataclass
class Loop:
    """Trains from a state to the end of the run, or until it is stopped."""

    schedule: RunSchedule
    compiled: CompiledSteps
    batches: TrainingBatches
    sharding: NamedSharding
    """Sharding of a batch."""
    state: TrainState
    progress: Progress
    reporter: StepReporter
    validator: Validator
    checkpoints: Checkpoints
    console: TrainingConsole
    stop: StopSignals
    callbacks: Sequence[Callback] = ()
    meter: Meter = dataclasses.field(init=False)
    """Metrics of the steps since the last report."""
    _stop_requested: bool = dataclasses.field(default=False, init=False)
    """Whether a callback raised an exception, `StopTraining` included."""
    _callback_error: Exception | None = dataclasses.field(default=None, init=False)
    """What a callback raised, other than `StopTraining`."""
    _saved_at: float = dataclasses.field(default_factory=time.monotonic, init=False)
    """When the last checkpoint was started."""

    def __post_init__(self) -> None:
        self.meter = Meter(self.config.train.batch_size, self.progress.pending)

    @property
    def config(self) -> Config:
        """The config of the run."""
        return self.schedule.config

    def run(self) -> Progress:
        """Trains to the end of the run. The host waits for the device only to report metrics, save and evaluate.

        Raises:
            Interrupted: a signal was received; the run is saved.
            CheckpointError: the last checkpoint could not be written.
            Exception: what a callback raised; the run is saved.
        """
        start, total_steps = int(self.state.step), self.schedule.total_steps
        if start == total_steps:
            logger.info("all %d steps are done; repeating the last evaluation", start)
        # Repeat an evaluation that was interrupted.
        if self.schedule.evaluates_after(start - 1) and self.progress.evaluated_step < start:
            self.console.show_epoch(self.schedule.whole_epochs_after(start), self._evaluate())
        try:
            for step in range(start, total_steps):
                if self.schedule.stops_early(self.progress.evaluations_since_best):
                    evaluations = counted(self.progress.evaluations_since_best, "evaluation")
                    logger.info("early stopping: no better %s in %s", self.config.evaluation.best_by, evaluations)
                    break
                if self._is_stopped(step):
                    logger.info("a callback stopped the run after step %d", step)
                    break
                self._take_step(step)
                self._follow_up(step)
        finally:
            self._warn_about_unused_data()
        if int(self.state.skipped_steps):
            expected = (
                "; with float16 a few at the start are normal, while the loss scale adapts"
                if self.config.train.precision == "float16"
                else ""
            )
            skipped = counted(int(self.state.skipped_steps), "step was", "steps were")
            logger.info("%s skipped because the loss or its gradient was not finite%s", skipped, expected)
        self.checkpoints.wait()
        if self._callback_error is not None:
            raise self._callback_error
        return self.progress

    def _is_stopped(self, steps: int) -> bool:
        """Whether a callback has ended the run after `steps` steps, which are then saved.

        Several processes must stop after the same step: they agree where they wait for the device anyway.
        """
        if jax.process_count() > 1 and not self.schedule.logs_after(steps - 1):
            return False
        is_stopped, has_failed = agree_on_all(self._stop_requested, self._callback_error is not None)
        if is_stopped:
            self._save()
        if has_failed and self._callback_error is None:
            self.checkpoints.wait()
            raise ConfigError("a callback failed on process 0; see its message")
        return bool(is_stopped)

    def _take_step(self, step: int) -> None:
        """Takes step number `step`, without waiting for its result."""
        with out_of_memory_explained(self.config):
            with self.meter.waiting("pause"):
                take = self._compiled_step(step)
            with self.meter.waiting("data"):
                local_batch = self._next_batch()
            with self.meter.waiting("transfer"):
                batch = to_devices(local_batch, self.sharding)
            # No reference to `local_batch` is kept: it may be in memory that a loading process reuses.
            self.state, metrics = take(self.state, batch, self.schedule.scalars_at(step))
            self.meter.add(metrics)
        self.console.took(step + 1)

    def _compiled_step(self, step: int) -> CompiledStep:
        """Waits for the compiled step for the input size at `step`, while still responding to signals."""
        size, start = self.schedule.size_at(step), time.monotonic()
        try:
            while (take := self.compiled.wait(size, timeout_s=0.5)) is None:
                waited_s = time.monotonic() - start
                self.console.show_compiling(size, waited_s, self.compiled.num_left, compilation_cache())
                if self.stop.received and jax.process_count() == 1:
                    self._save()
                    raise self._interrupted(step, self.stop.received)
        except ConfigError:  # the size does not fit into memory
            self._save_before_failing()
            raise
        return take

    def _next_batch(self) -> HostBatch:
        """The next batch of this process. If images can no longer be read, the run is saved before it fails."""
        try:
            return next(self.batches)
        except (BrokenImage, DataError):
            self._save_before_failing()
            raise

    def _follow_up(self, step: int) -> None:
        """What follows `step`: a report, a checkpoint, an evaluation, or the end of the run if a signal came."""
        if self.schedule.logs_after(step):
            with out_of_memory_explained(self.config):  # an error of an earlier step surfaces only now
                metrics = self.reporter.report(step, self.meter)
            self._notify("step", metrics)
        signal_number, save_is_due = self._requests(step)
        if self.schedule.saves_after(step) or save_is_due or signal_number:
            self._save()
        if signal_number:
            raise self._interrupted(step + 1, signal_number)
        evaluation = self._evaluate() if self.schedule.evaluates_after(step) else None
        if self.schedule.ends_epoch(step):
            self.console.show_epoch(self.schedule.whole_epochs_after(step + 1), evaluation)

    def _requests(self, step: int) -> tuple[int, bool]:
        """The signal to stop for, 0 for none, and whether a checkpoint is due by the clock.

        Several processes must act on these after the same step: they agree where they wait for the device anyway.
        """
        minutes = self.config.train.checkpoint_minutes
        save_is_due = 0 < minutes <= (time.monotonic() - self._saved_at) / 60
        if jax.process_count() == 1:
            return self.stop.received, save_is_due
        if not self.schedule.logs_after(step):
            return 0, False
        signal_number, is_due_somewhere = agree_on_all(self.stop.received, save_is_due)
        return signal_number, bool(is_due_somewhere)

    def _notify(
        self,
        kind: Literal["step", "evaluation", "checkpoint"],
        metrics: Mapping[str, Any],
        path: Path | None = None,
    ) -> None:
        """Calls the callbacks, on the first process. The loop acts on what they raise before the next step."""
        if not self.callbacks or jax.process_index() > 0:
            return
        step = int(self.state.step)
        event = TrainingEvent(kind, step, self.schedule.epochs_after(step), metrics, path)
        with self.meter.waiting("pause"):
            for callback in self.callbacks:
                try:
                    callback(event)
                except StopTraining:
                    self._stop_requested = True
                except Exception as error:
                    self._stop_requested, self._callback_error = True, self._callback_error or error

    def _save(self) -> None:
        self.console.show("saving a checkpoint")
        with out_of_memory_explained(self.config):
            pending = self.meter.steps()
        with self.meter.waiting("pause"):
            path = self.checkpoints.save(self.state, self.progress._replace(pending=pending))
        self._saved_at = time.monotonic()
        if path is not None:
            self._notify("checkpoint", {}, path)

    def _save_before_failing(self) -> None:
        """Saves the run before an error ends it. Several processes can only save together, so they skip this."""
        if jax.process_count() == 1 and self.state.step:
            self._save()
            self.checkpoints.wait()
            logger.info("saved after step %d: --resume continues from there", self.state.step)

    def _evaluate(self) -> dict[str, Any]:
        """Evaluates the averaged weights of the epoch that has just ended and been saved; returns the metrics."""
        step = int(self.state.step)

        def stop_on_signal() -> None:
            # One of several processes must not stop: the others would wait for its share.
            if self.stop.received and jax.process_count() == 1:
                raise self._interrupted(step, self.stop.received)

        with out_of_memory_explained(self.config, evaluating=True):
            self.progress, metrics = self.validator.validate(
                self.state, self.schedule.whole_epochs_after(step), self.progress, on_progress=stop_on_signal
            )
        self.checkpoints.keep_best(self.progress.best_step)
        self.meter.restart()
        self._notify("evaluation", metrics)
        self.console.show(None)
        return metrics

    def _warn_about_unused_data(self) -> None:
        """Logs how many images and objects have been left out of training since this process started."""
        if self.batches.num_dropped:
            logger.warning(
                "%s not trained on: their images contain more than --data.max-boxes %d, which keeps the largest",
                counted(self.batches.num_dropped, "object was", "objects were"),
                self.config.data.max_boxes,
            )
        if self.batches.broken:
            broken = counted(len(self.batches.broken), "training image")
            logger.warning("skipped %s that could not be read", broken)

    def _interrupted(self, steps: int, signal_number: int) -> Interrupted:
        """Waits for the checkpoint to finish, then returns the error to raise for the signal."""
        self.checkpoints.wait()
        name = signal.Signals(signal_number).name
        return Interrupted(
            signal_number,
            f"stopped by {name} after step {steps} of {self.schedule.total_steps}, and saved: --resume continues from "
            "there",
        )
