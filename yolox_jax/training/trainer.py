"""A training run, from a config to trained weights."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from yolox_jax.config import Config
from yolox_jax.config.best_by import DEFAULT
from yolox_jax.config.serialization import config_to_dict
from yolox_jax.data.cache.pixel_cache import PixelCache, open_cache
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.hooks import Hook
from yolox_jax.data.pipeline import load_training_batch, training_batches
from yolox_jax.training.build import Training, build_training
from yolox_jax.training.callbacks import Callback
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.compilation import compile_steps
from yolox_jax.training.distributed import on_every_process
from yolox_jax.training.extension import announce_extension, begin_extension
from yolox_jax.training.interruption import StopSignals
from yolox_jax.training.loop import Loop
from yolox_jax.training.preparation import PreparedRun, initial_weights, prepare
from yolox_jax.training.reporting.announcement import announce
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.metric_writers import open_metric_writers
from yolox_jax.training.reporting.metrics_log import MetricsLog, read_metrics
from yolox_jax.training.reporting.non_finite import NonFiniteGuard
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_directory import RunDirectory, record_settings
from yolox_jax.training.step.mesh import replicated, rows_of_this_process, split_over_devices
from yolox_jax.training.validation import Validator

logger = logging.getLogger("yolox_jax.training")


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A run that has finished, or that early stopping or a callback has ended."""

    workdir: Path
    """The run directory; `Detector(weights=...)`, `evaluate` and `export` accept it as weights."""
    progress: Progress
    best_by: str = DEFAULT
    """The figure that decided which weights are the best: `evaluation.best_by`."""

    @property
    def best_value(self) -> float | None:
        """Highest value of that figure in an evaluation; None if there was none."""
        return self.progress.best_value

    @property
    def best_ap(self) -> float | None:
        """`best_value` if the figure is AP, the default; else None."""
        return self.best_value if self.best_by == DEFAULT else None

    @property
    def best_epoch(self) -> int | None:
        """Epoch of that evaluation, counted from 1."""
        return self.progress.best_epoch

    def metrics(self) -> list[dict[str, Any]]:
        """All logged steps and evaluations, as recorded in `metrics.jsonl`."""
        return read_metrics(RunDirectory(self.workdir).metrics)


def train(
    config: Config,
    *,
    workdir: str | Path,
    resume: bool = False,
    extend: bool = False,
    auto_batch_size: bool = False,
    callbacks: Sequence[Callback] = (),
    train_set: Dataset | None = None,
    val_set: Dataset | None = None,
    augment: Mapping[str, Hook] | None = None,
) -> TrainingResult:
    """Trains a detector and writes weights, checkpoints, metrics and pictures to `workdir`.

    Runs on all devices of all processes that `start_distributed` connected; they must all see the same `workdir`.

    Args:
        config: the config of the run.
        workdir: the run directory, created if needed.
        resume: continue from the newest checkpoint in `workdir`, or start from scratch if there is none.
        extend: with `resume`, continue with settings that differ from those of the run, such as more epochs.
        auto_batch_size: use the largest batch size that fits the devices, or that of the run to resume, in place of
            the one in the config.
        callbacks: called with a `TrainingEvent` for each logged step, evaluation and checkpoint, on the first process;
            one that raises `StopTraining` ends the run early.
        train_set: an open dataset to train on in place of the files of the config, such as one of
            `yolox_jax.make_dataset`.
        val_set: the same for evaluation.
        augment: own augmentation (docs/data.md): the function to call `before_mosaic` or `after_mosaic`, of (image,
            boxes, classes, rng), which returns the first three. Its randomness must come from `rng`.

    Returns:
        The run directory, the best AP, or value of `evaluation.best_by`, and its epoch.

    Raises:
        ConfigError: invalid settings, reported before any work is done; or a device ran out of memory.
        DataError, WeightsError, FileNotFoundError: annotations or weights that cannot be used, reported before any
            work is done; or a function of `augment` failed, and the run is saved first.
        BrokenImage: an image that cannot be read, if `data.broken_images` is `stop`.
        TrainingError: the loss or its gradient is no longer finite.
        Interrupted: SIGTERM or Ctrl-C was received; the run is saved.
        CheckpointError: no checkpoint can be read, or the last one cannot be written.
        Exception: whatever a callback raises; the run is saved first.
    """
    with (
        prepare(
            config,
            Path(workdir),
            resume=resume,
            extend=extend,
            auto_batch_size=auto_batch_size,
            train_set=train_set,
            val_set=val_set,
            augment=augment,
        ) as run,
        StopSignals() as stop,
        TrainingConsole(run.directory.log, run.schedule, process=jax.process_index()) as console,
        Checkpoints(run.directory.checkpoints, config.train.keep_checkpoints) as checkpoints,
    ):
        config = run.config
        if resume and not run.resuming:
            logger.warning("no checkpoint to resume from in %s: starting from scratch", workdir)
        training = build_training(
            run.schedule,
            run.num_classes,
            weights=on_every_process(
                lambda: None if run.resuming else initial_weights(config, run.train_set.class_names)
            ),
        )
        announce(config, training.summary, run.train_set, run.val_set, run.hooks)
        progress = Progress(**_platform(training.mesh))
        if run.resuming:
            training, progress = _restore(training, checkpoints, run)
        start = int(training.state.step)
        console.start_at(start)
        rows = rows_of_this_process(training.mesh, config.train.batch_size)
        with (
            _open_outputs(run, start, progress, stop) as (log, cache),
            compile_steps(training) as compiled,
            training_batches(
                run.train_set,
                config,
                start_step=run.schedule.in_whole_run(start),
                rows=rows,
                cache=cache,
                hooks=run.hooks,
            ) as batches,
        ):
            validator = Validator(config, run.val_set, training.graphdef, run.directory, log, console)
            guard = NonFiniteGuard(
                config,
                run.directory.non_finite,
                lambda step: load_training_batch(
                    run.train_set, config, run.schedule.in_whole_run(step), rows, cache, run.hooks
                ),
            )
            loop = Loop(
                schedule=training.schedule,
                compiled=compiled,
                batches=batches,
                sharding=split_over_devices(training.mesh),
                state=training.state,
                progress=progress,
                reporter=StepReporter(training.schedule, log, console, guard, training.summary.gflops),
                validator=validator,
                checkpoints=checkpoints,
                console=console,
                stop=stop,
                callbacks=callbacks,
            )
            progress = loop.run()
        best_by, best = config.evaluation.best_by, progress.best_value
        if best is not None:
            logger.info("best %s %.4f after epoch %s; results in %s", best_by, best, progress.best_epoch, workdir)
    return TrainingResult(Path(workdir), progress, best_by)


@contextlib.contextmanager
def _open_outputs(
    run: PreparedRun, start: int, progress: Progress, stop: StopSignals
) -> Iterator[tuple[MetricsLog | None, PixelCache | None]]:
    """The metrics log, on the first process, and the cache of decoded training images, if there is one."""
    with contextlib.ExitStack() as stack:

        def open_here() -> tuple[MetricsLog | None, PixelCache | None]:
            log = None
            if jax.process_index() == 0:
                log = stack.enter_context(
                    MetricsLog(run.directory, resume_step=start, evaluated_step=progress.evaluated_step)
                )
                log.writers += open_metric_writers(
                    run.config.train.loggers, run.directory, config_to_dict(run.config), start
                )
            cache = stack.enter_context(
                open_cache(
                    run.train_set.records,
                    run.config.data,
                    on_image=lambda: stop.raise_if_received("decoding images into the cache"),
                )
            )
            if log is not None:
                extensions = list(map(dataclasses.asdict, run.extensions))
                record_settings(run.directory, run.config, run.train_set, run.hooks, extensions)
            return log, cache

        yield on_every_process(open_here)


def _platform(mesh: Mesh) -> dict[str, Any]:
    """The properties that a resumed run must share with the earlier one for bit-for-bit equal results."""
    return {
        "devices": mesh.size,
        "processes": jax.process_count(),
        "device_kind": mesh.devices[0].device_kind,
        "jax_version": jax.__version__,
    }


def _restore(training: Training, checkpoints: Checkpoints, run: PreparedRun) -> tuple[Training, Progress]:
    """Continues from the newest checkpoint that can be read."""
    state, progress = checkpoints.restore(training.state, replicated(training.mesh))
    state, progress = begin_extension(run.extensions, run.config, state, progress)
    if run.is_extended_now:
        announce_extension(run.extensions[-1], run.schedule)
    checkpoints.keep_best(progress.best_step)
    logger.info("resumed after step %d", state.step)
    platform = _platform(training.mesh)
    changed = [
        f"{name.replace('_', ' ')} {getattr(progress, name)} before, {now} now"
        for name, now in platform.items()
        if getattr(progress, name) not in (None, now)
    ]
    if changed:
        logger.warning(
            "resuming with %s: the results will not be bit-for-bit equal to those of an uninterrupted run, because "
            "sums are rounded in a different order and batch norm sees different shares of a batch (unless "
            "--train.sync-batch-norm is on)",
            "; ".join(changed),
        )
    return training._replace(state=state), progress._replace(**platform)
