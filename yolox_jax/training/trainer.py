"""A training run, from the settings to the weights."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config, check_multiscale_range
from yolox_jax.config.serialization import config_to_dict
from yolox_jax.data.cache.pixel_cache import PixelCache, open_cache
from yolox_jax.data.dataset import Dataset, check_same_classes, fingerprint
from yolox_jax.data.doctor.annotations import cheap_findings
from yolox_jax.data.pipeline import load_training_batch, steps_per_epoch
from yolox_jax.data.sources import open_datasets
from yolox_jax.models.summary import Summary, summarize
from yolox_jax.models.yolox import YOLOX, create_model
from yolox_jax.text import shortened
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.distributed import check_same_settings, connect, on_every_process, on_first_process
from yolox_jax.training.freezing import freeze
from yolox_jax.training.interruption import Interrupted, StopSignals
from yolox_jax.training.loop import Loop
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.metric_writers import check_loggers, open_loggers
from yolox_jax.training.reporting.metrics_log import MetricsLog
from yolox_jax.training.reporting.non_finite import NonFiniteGuard
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_directory import (
    RunDirectory,
    check_same_data,
    lock_run_directory,
    open_run_directory,
    record_settings,
    settings_of_the_run,
)
from yolox_jax.training.run_schedule import Plan
from yolox_jax.training.step.mesh import create_mesh, replicated, rows_of_this_process, split_over_devices
from yolox_jax.training.step.optimizer import sgd
from yolox_jax.training.step.state import TrainState, create_train_state
from yolox_jax.training.step.step import make_train_step
from yolox_jax.training.validation import Validator
from yolox_jax.weights import describe, load_state_dict, read_weights, resolve

logger = logging.getLogger("yolox_jax.training")


def train(config: Config, *, workdir: Path, resume: bool = False) -> Progress:
    """Trains a detector and leaves weights, checkpoints, metrics and pictures in `workdir`.

    Runs on all devices of all processes that `start_distributed` has joined; `workdir` is then a folder that all of
    them see.

    Args:
        config: every setting.
        workdir: folder of the run, made where missing.
        resume: go on from the newest checkpoint in `workdir`, or start where there is none.

    Returns:
        The best AP and its epoch.

    Raises:
        ConfigError: settings that cannot work, found before any work.
        DataError, WeightsError, FileNotFoundError: annotations or weights that cannot be used, found before any work.
        BrokenImage: an image that cannot be read, if `data.broken_images` is `stop`.
        TrainingError: the loss or its gradient is no longer finite.
        Interrupted: SIGTERM or Ctrl-C came; the run is saved.
        CheckpointError: no checkpoint can be read, or the last one cannot be written.
    """
    check_config(config)
    check_multiscale_range(config)
    mesh = create_mesh(config.train)
    connect(mesh)
    check_same_settings({"resume": resume, **settings_of_the_run(config)})
    on_first_process(lambda: check_loggers(config.train.loggers))
    run = RunDirectory(workdir)
    on_first_process(lambda: open_run_directory(workdir, config, resume=resume))
    # The first alone generates images; the others find them then.
    opened = on_first_process(lambda: _open_datasets(config))
    train_set, val_set = on_every_process(lambda: opened or _open_datasets(config))
    check_same_settings({"data.train": fingerprint(train_set), "data.val": fingerprint(val_set)})
    on_first_process(lambda: check_same_data(run, train_set))
    plan = Plan(config, steps_per_epoch(len(train_set.records), config.train.batch_size))
    with (
        on_first_process(lambda: lock_run_directory(run)) or contextlib.nullcontext(),
        StopSignals() as stop,
        TrainingConsole(run.log, plan.total_steps, process=jax.process_index()) as console,
        Checkpoints(run.checkpoints, config.train.keep_checkpoints) as checkpoints,
    ):
        seen = f"a folder with {'the' if run.lock.exists() else 'no'} lock and checkpoints {checkpoints.steps()}"
        check_same_settings({"workdir": seen})
        resuming = resume and checkpoints.latest_step() is not None
        if resume and not resuming:
            logger.warning("%s holds no checkpoint to resume from: the run starts at its beginning", workdir)
        num_classes = len(train_set.class_names)
        model = on_every_process(lambda: _initial_model(config, num_classes, take_weights=not resuming))
        summary = summarize(model, config.data.input_size)
        _announce(config, summary, train_set, val_set)
        if config.model.freeze:
            logger.info("not trained: %d weights and statistics", freeze(model, config.model.freeze))
        optimizer = sgd(config.optimizer, plan.learning_rate)
        graphdef, state = create_train_state(model, optimizer, config.train)
        state, progress = _place_or_restore(state, mesh, checkpoints if resuming else None)
        with _open_log(run, config, int(state.step), progress) as log, _open_cache(train_set, config, stop) as cache:
            on_first_process(lambda: record_settings(run, config, train_set))
            rows = rows_of_this_process(mesh, config.train.batch_size)
            guard = NonFiniteGuard(
                config, run.non_finite, lambda at: load_training_batch(train_set, config, at, rows, cache)
            )
            loop = Loop(
                plan=plan,
                sharding=split_over_devices(mesh),
                reporter=StepReporter(plan, log, console, guard, summary.gflops),
                validator=Validator(config, val_set, graphdef, run, log, console),
                checkpoints=checkpoints,
                console=console,
                stop=stop,
            )
            train_step = make_train_step(graphdef, optimizer, config, mesh)
            progress = loop.run(train_step, state, progress, train_set, rows, cache)
        if progress.best_ap is not None:
            logger.info(
                "best AP %.4f after epoch %s; everything is in %s", progress.best_ap, progress.best_epoch, workdir
            )
    return progress


def _open_log(
    run: RunDirectory, config: Config, start: int, progress: Progress
) -> contextlib.AbstractContextManager[MetricsLog | None]:
    """The metrics of the run, on the first process alone."""

    def open_log() -> MetricsLog:
        loggers = open_loggers(config.train.loggers, run, config_to_dict(config), start)
        return MetricsLog(run, loggers, resume_step=start, evaluated_step=progress.evaluated_step)

    return on_first_process(open_log) or contextlib.nullcontext()


@contextlib.contextmanager
def _open_cache(train_set: Dataset, config: Config, stop: StopSignals) -> Iterator[PixelCache | None]:
    """The decoded training images, where they are wanted; each process opens them for itself."""

    def give_way() -> None:
        if stop.received:
            name = signal.Signals(stop.received).name
            raise Interrupted(stop.received, f"stopped by {name} while images were decoded: nothing is lost")

    with contextlib.ExitStack() as stack:
        cache = open_cache(train_set.records, config.data, on_image=give_way)
        yield on_every_process(lambda: stack.enter_context(cache))


def _place_or_restore(state: TrainState, mesh: Mesh, checkpoints: Checkpoints | None) -> tuple[TrainState, Progress]:
    """The state on all devices: as it is, or from the newest checkpoint that can be read."""
    here = {
        "devices": mesh.size,
        "processes": jax.process_count(),
        "device_kind": mesh.devices[0].device_kind,
        "jax_version": jax.__version__,
    }
    if checkpoints is None:
        # From the host: arrays that lie on a device already cannot be spread over those of other processes.
        return jax.device_put(jax.device_get(state), replicated(mesh)), Progress(**here)
    state, progress = checkpoints.restore(state, replicated(mesh))
    checkpoints.keep_best(progress.best_step)
    logger.info("resumed after step %d", state.step)
    changed = [
        f"{name.replace('_', ' ')} {getattr(progress, name)} before, {now} now"
        for name, now in here.items()
        if getattr(progress, name) not in (None, now)
    ]
    if changed:
        logger.warning(
            "the run goes on with %s: sums are rounded in another order, and batch norm sees other shares of a batch "
            "unless --train.sync-batch-norm is on, so it will not be bit for bit the run that it would have been",
            "; ".join(changed),
        )
    return state, progress._replace(**here)


def _open_datasets(config: Config) -> tuple[Dataset, Dataset]:
    train_set, val_set = open_datasets(config.data, "train"), open_datasets(config.data, "val")
    check_same_classes(train_set, val_set)
    return train_set, val_set


def _initial_model(config: Config, num_classes: int, *, take_weights: bool) -> YOLOX:
    """The model in training mode, with `model.weights` where they are given and wanted."""
    model = create_model(config.model.variant, num_classes, seed=config.seed, dtype=jnp.dtype(config.train.precision))
    if take_weights and config.model.weights:
        state_dict = read_weights(resolve(config.model.weights)).state_dict
        variant, _ = describe(state_dict)
        if variant != config.model.variant:
            raise ConfigError(
                f"--model.weights {config.model.weights} holds weights of {variant}, but --model.variant is "
                f"{config.model.variant}; make them agree"
            )
        taken = load_state_dict(model, state_dict, strict=False)
        logger.info("start from %s: %d tensors taken", config.model.weights, len(taken.loaded))
        if taken.skipped:
            logger.info("of another shape or name, not taken: %s", shortened(taken.skipped, 6))
        if taken.missing:
            logger.info("left as drawn: %s", shortened(taken.missing, 6))
    model.train()
    return model


def _announce(config: Config, summary: Summary, train_set: Dataset, val_set: Dataset) -> None:
    """Says what is about to be trained, on what."""
    logger.info(
        "%s: %.2f M parameters, %.2f GFLOPs at %dx%d, on %d %s",
        config.model.variant,
        summary.parameters / 1e6,
        summary.gflops,
        *config.data.input_size,
        jax.device_count(),
        jax.devices()[0].device_kind,
    )
    for which, dataset in (("train", train_set), ("val", val_set)):
        boxes = sum(len(record.boxes) for record in dataset.records)
        logger.info("%s: %d images, %d boxes, %d classes", which, len(dataset.records), boxes, len(dataset.class_names))
        for warning in dataset.warnings:
            logger.warning("%s: %s", which, warning)
    if config.train.batch_size > len(train_set.records):
        logger.warning(
            "--train.batch-size %d is more than the %d training images: each batch holds images several times, and the "
            "learning rate grows with it, to %.3g. A batch of at most the images there are is likely meant",
            config.train.batch_size,
            len(train_set.records),
            config.optimizer.lr_per_image * config.train.batch_size,
        )
    for finding in cheap_findings(train_set, val_set, config.data):
        if finding.level != "note":
            logger.warning("%s", finding.sentence())
