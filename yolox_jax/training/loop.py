"""The steps of a run, and what follows them."""

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding

from yolox_jax.config import ConfigError
from yolox_jax.data.cache.pixel_cache import PixelCache
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.image import BrokenImage
from yolox_jax.data.pipeline import HostBatch, TrainingBatches, training_batches
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.compilation import CompiledStep, CompiledSteps, batch_like
from yolox_jax.training.distributed import agree
from yolox_jax.training.interruption import Interrupted, StopSignals
from yolox_jax.training.profiling.memory import check_fits, lasting_bytes, out_of_memory_explained
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_schedule import Plan
from yolox_jax.training.step.mesh import to_devices
from yolox_jax.training.step.state import TrainState
from yolox_jax.training.step.step import TrainStep
from yolox_jax.training.validation import Validator

logger = logging.getLogger("yolox_jax.training")


@dataclasses.dataclass
class Loop:
    """Trains from a state to the end of the run, or to where it is told to stop."""

    plan: Plan
    sharding: NamedSharding
    reporter: StepReporter
    validator: Validator
    checkpoints: Checkpoints
    console: TrainingConsole
    stop: StopSignals
    _saved_at: float = dataclasses.field(default_factory=time.monotonic, init=False)
    """When the last checkpoint was begun."""

    def run(
        self,
        train_step: TrainStep,
        state: TrainState,
        progress: Progress,
        train_set: Dataset,
        rows: range,
        cache: PixelCache | None,
    ) -> Progress:
        """Trains on this process's `rows` of each batch. Only reports and what is rarer wait for the device.

        Raises:
            Interrupted: a signal came; the run is saved.
            CheckpointError: the last checkpoint could not be written.
        """
        plan, start = self.plan, int(state.step)
        meter = Meter(plan.config.train.batch_size, progress.pending)
        like, lasting = batch_like(plan.config, self.sharding), lasting_bytes(state)
        check = lambda compiled, size: check_fits(compiled, lasting, plan.config, size)  # noqa: E731
        with (
            CompiledSteps(train_step, state, like, plan.sizes_to_compile(start), check) as compiled,
            training_batches(train_set, plan.config, start_step=start, rows=rows, cache=cache) as batches,
            _counted_losses(batches, plan.config.data.max_boxes),
        ):
            if start == plan.total_steps:
                logger.info("all %d steps are done; the evaluation after the last of them is made again", start)
            # An evaluation that a signal or a kill cut off.
            if plan.evaluates_after(start - 1) and progress.evaluated_step < start:
                progress = self._evaluate(state, progress, meter)
            for step in range(start, plan.total_steps):
                if plan.stops_early(progress.evaluations_since_best):
                    logger.info("stopped early: no better AP in %d evaluations", progress.evaluations_since_best)
                    break
                with out_of_memory_explained(plan.config):
                    state = self._step(compiled, batches, state, progress, meter, step)
                progress = self._after(step, state, progress, meter)
        if int(state.skipped_steps):
            float16 = plan.config.train.precision == "float16"
            usual = "; for float16, some at the start are usual, until its loss scale fits" if float16 else ""
            logger.info("%d steps of the run were skipped, as they were not finite%s", state.skipped_steps, usual)
        self.checkpoints.wait()
        return progress

    def _step(
        self,
        compiled: CompiledSteps,
        batches: TrainingBatches,
        state: TrainState,
        progress: Progress,
        meter: Meter,
        step: int,
    ) -> TrainState:
        """Takes one step. No batch is kept: it may lie in memory that is shared with the process that made it."""
        with meter.waiting("pause"):
            take_step = self._wait_for(compiled, state, progress, meter, step)
        with meter.waiting("data"):
            local = self._next(batches, state, progress, meter)
        with meter.waiting("transfer"):
            batch = to_devices(local, self.sharding)
        state, metrics = take_step(state, batch, np.float32(self.plan.l1_weight_at(step)))
        meter.add(metrics)
        return state

    def _next(self, batches: TrainingBatches, state: TrainState, progress: Progress, meter: Meter) -> HostBatch:
        """The next batch. Where the images are gone, what was trained so far is saved before the run ends."""
        try:
            return next(batches)
        except (BrokenImage, DataError):
            self._save_before_the_end(state, progress, meter)
            raise

    def _save_before_the_end(self, state: TrainState, progress: Progress, meter: Meter) -> None:
        """Saves what an error would lose; several processes save together, and the others may have none."""
        if jax.process_count() == 1 and state.step:
            self._save(state, progress, meter)
            self.checkpoints.wait()
            logger.info("saved after step %d: --resume goes on from there", state.step)

    def _after(self, step: int, state: TrainState, progress: Progress, meter: Meter) -> Progress:
        """What follows `step`: a line of metrics, a checkpoint, the stop that was asked for, an evaluation."""
        with out_of_memory_explained(self.plan.config):  # of a step before, which only now is waited for
            if self.plan.logs_after(step):
                self.reporter.report(step, meter)
            signal_number, save_is_due = self._wanted(step)
            if self.plan.saves_after(step) or save_is_due or signal_number:
                self._save(state, progress, meter)
        if signal_number:
            raise self._stopped(step + 1, signal_number)
        if self.plan.evaluates_after(step):
            progress = self._evaluate(state, progress, meter)
        return progress

    def _wait_for(
        self, compiled: CompiledSteps, state: TrainState, progress: Progress, meter: Meter, step: int
    ) -> CompiledStep:
        """The step for the size of `step`, waited for so that a signal is still heard."""
        size = self.plan.size_at(step)
        try:
            while (take_step := compiled.wait(size, timeout_s=0.5)) is None:
                self.console.show(f"compiling for {size[0]}x{size[1]} px, {compiled.num_left} sizes to go")
                if self.stop.received and jax.process_count() == 1:
                    self._save(state, progress, meter)
                    raise self._stopped(step, self.stop.received)
        except ConfigError:  # a size that does not fit
            self._save_before_the_end(state, progress, meter)
            raise
        return take_step

    def _wanted(self, step: int) -> tuple[int, bool]:
        """The number of the signal to stop for, or 0, and whether the time has come for a checkpoint.

        Several processes have to do the same at the same step: they agree where they wait for the device anyway.
        """
        minutes = self.plan.config.train.checkpoint_minutes
        due = 0 < minutes <= (time.monotonic() - self._saved_at) / 60
        if jax.process_count() == 1:
            return self.stop.received, due
        if not self.plan.logs_after(step):
            return 0, False
        signal_number, due_somewhere = divmod(agree(2 * self.stop.received + due), 2)
        return signal_number, bool(due_somewhere)

    def _save(self, state: TrainState, progress: Progress, meter: Meter) -> None:
        pending = meter.steps()
        with meter.waiting("pause"):
            self.checkpoints.save(state, progress._replace(pending=pending))
        self._saved_at = time.monotonic()

    def _evaluate(self, state: TrainState, progress: Progress, meter: Meter) -> Progress:
        """Scores the averaged weights of the epoch that has just ended and been saved."""

        def give_way() -> None:
            # Alone: the other processes would wait for this one's share.
            if self.stop.received and jax.process_count() == 1:
                raise self._stopped(step, self.stop.received)

        step = int(state.step)
        epoch = step // self.plan.steps_per_epoch
        with out_of_memory_explained(self.plan.config, evaluating=True):
            progress = self.validator.validate(state, epoch, progress, on_progress=give_way)
        self.checkpoints.keep_best(progress.best_step)
        meter.restart()
        return progress

    def _stopped(self, steps: int, signal_number: int) -> Interrupted:
        """Waits until the checkpoint is whole."""
        self.checkpoints.wait()
        name = signal.Signals(signal_number).name
        return Interrupted(
            signal_number,
            f"stopped by {name} after step {steps} of {self.plan.total_steps}, and saved: --resume goes on from there",
        )


@contextlib.contextmanager
def _counted_losses(batches: TrainingBatches, max_boxes: int) -> Iterator[None]:
    """Says at the end, however it comes, which images and objects were not trained on since the start."""
    try:
        yield
    finally:
        if batches.num_dropped:
            logger.warning(
                "%d objects were not trained on: their images hold more than --data.max-boxes %d, which keeps the "
                "largest",
                batches.num_dropped,
                max_boxes,
            )
        if batches.broken:
            logger.warning("%d training images could not be read and were skipped; see above", len(batches.broken))
