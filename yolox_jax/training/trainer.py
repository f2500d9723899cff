"""A training run, from the settings to the weights."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from yolox_jax.config import Config, ConfigError
from yolox_jax.config_file import check_config, check_multiscale_range
from yolox_jax.data.pipeline import steps_per_epoch, training_batches
from yolox_jax.data.sources import open_dataset
from yolox_jax.data.sources.dataset import Dataset, num_records_above
from yolox_jax.models.summary import summarize
from yolox_jax.models.yolox import YOLOX, create_model
from yolox_jax.text import shortened
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.console import TrainingConsole
from yolox_jax.training.mesh import create_mesh, replicated, split_over_devices
from yolox_jax.training.meter import Meter
from yolox_jax.training.optimizer import sgd
from yolox_jax.training.plan import Plan
from yolox_jax.training.reporting import MetricsLog
from yolox_jax.training.run_directory import open_run_directory, record_settings
from yolox_jax.training.state import TrainState, create_train_state
from yolox_jax.training.step import TrainStep, make_train_step
from yolox_jax.training.validation import Validator
from yolox_jax.weights import describe, load_state_dict, read_weights

logger = logging.getLogger("yolox_jax.training")


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and what to try."""


def train(config: Config, *, workdir: Path, resume: bool = False) -> Progress:
    """Trains a detector and leaves weights, checkpoints, metrics and pictures in `workdir`.

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
    """
    check_config(config)
    check_multiscale_range(config)
    mesh = create_mesh(config.train.batch_size)
    run = open_run_directory(workdir, config, resume=resume)
    train_set, val_set = _open_datasets(config)
    plan = Plan(config, steps_per_epoch(len(train_set.records), config.train.batch_size))
    with (
        Checkpoints(run.checkpoints, config.train.keep_checkpoints) as checkpoints,
        TrainingConsole(run.log, plan.total_steps) as console,
    ):
        resuming = resume and checkpoints.latest_step() is not None
        model = _initial_model(config, len(train_set.class_names), take_weights=not resuming)
        record_settings(run, config)
        _announce(config, model, train_set, val_set)
        optimizer = sgd(config.optimizer, plan.learning_rate)
        graphdef, state = create_train_state(model, optimizer)
        progress = Progress()
        if resuming:
            state, progress = checkpoints.restore(state, replicated(mesh))
            logger.info("resumed after step %d of %d", state.step, plan.total_steps)
        elif resume:
            logger.info("%s holds no checkpoint to resume from: the run starts at its beginning", workdir)
        state = jax.device_put(state, replicated(mesh))
        with MetricsLog(run, resume_step=int(state.step)) as log:
            loop = _Loop(
                plan=plan,
                train_step=make_train_step(graphdef, optimizer, config, mesh),
                sharding=split_over_devices(mesh),
                report=functools.partial(_report, plan, log, console),
                validator=Validator(config, val_set, graphdef, run, log, console),
                checkpoints=checkpoints,
            )
            progress = loop.run(state, progress, train_set)
        if progress.best_ap is not None:
            logger.info(
                "best AP %.4f after epoch %s; everything is in %s", progress.best_ap, progress.best_epoch, workdir
            )
    return progress


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The steps of a run, and what follows them."""

    plan: Plan
    train_step: TrainStep
    sharding: Sharding
    report: Callable[[int, Meter], None]
    validator: Validator
    checkpoints: Checkpoints

    def run(self, state: TrainState, progress: Progress, train_set: Dataset) -> Progress:
        """Trains from `state` to the end. Only reports, evaluations and checkpoints wait for the device."""
        plan, start = self.plan, int(state.step)
        meter = Meter(plan.config.train.batch_size)
        sizes: set[tuple[int, int]] = set()
        with training_batches(train_set, plan.config, start_step=start) as batches:
            for step in range(start, plan.total_steps):
                with meter.waiting():
                    batch = jax.device_put(next(batches), self.sharding)
                size = plan.size_at(step)
                if size not in sizes:
                    logger.info("compiling the step for %dx%d px, once for each size; this can take minutes", *size)
                    sizes.add(size)
                state, metrics = self.train_step(state, batch, plan.l1_weight_at(step), size=size)
                meter.add(metrics)
                if plan.logs_after(step):
                    self.report(step, meter)
                if plan.ends_epoch(step):
                    epoch = step // plan.steps_per_epoch
                    if plan.evaluates_after(epoch):
                        progress = self.validator.validate(state, epoch + 1, progress)
                    self.checkpoints.save(state, progress)
                    meter.restart()
            if batches.broken:
                logger.warning("%d training images could not be read and were skipped; see above", len(batches.broken))
        return progress


def _report(plan: Plan, log: MetricsLog, console: TrainingConsole, step: int, meter: Meter) -> None:
    """Writes and shows the figures of the steps up to `step`."""
    figures = meter.report()
    # A gradient that is not finite has spoilt the weights, even where the loss before it was sound.
    if not math.isfinite(figures["loss"] + figures["gradient_norm"]):
        raise TrainingError(
            f"the loss or its gradient is no longer finite at step {step + 1}; what was saved before is kept. Start a "
            "new run in another --workdir with a lower --optimizer.lr-per-image or a longer --schedule.warmup-epochs; "
            "--model.weights with this folder starts it from the weights of the last evaluation"
        )
    figures["lr"] = float(plan.learning_rate(step))
    figures["input_height"], figures["input_width"] = plan.size_at(step)
    done = step + 1
    log.write("train", step=done, epoch=round(done / plan.steps_per_epoch, 4), figures=figures)
    losses = " ".join(f"{name} {figures[name]:.3g}" for name in ("loss", "iou", "objectness", "classification", "l1"))
    parts = (
        f"epoch {step // plan.steps_per_epoch + 1}/{plan.config.schedule.epochs} step {done}/{plan.total_steps}",
        losses,
        f"lr {figures['lr']:.2e}",
        f"{figures['input_height']}x{figures['input_width']}",
        f"{figures['images_per_second']:.1f} images/s, {figures['data_wait']:.0%} waiting",
        f"{figures['memory_mib']:.0f} MiB",
    )
    console.show_step(done, " | ".join(parts))


def _open_datasets(config: Config) -> tuple[Dataset, Dataset]:
    train_set, val_set = open_dataset(config.data.train, "train"), open_dataset(config.data.val, "val")
    if train_set.class_names != val_set.class_names:
        raise ConfigError(
            f"--data.train and --data.val differ in their classes: {', '.join(train_set.class_names)} against "
            f"{', '.join(val_set.class_names)}; give both the same list of categories"
        )
    return train_set, val_set


def _initial_model(config: Config, num_classes: int, *, take_weights: bool) -> YOLOX:
    """The model in training mode, with `model.weights` where they are given and wanted."""
    model = create_model(config.model.variant, num_classes, seed=config.seed, dtype=jnp.dtype(config.train.precision))
    if take_weights and config.model.weights:
        state_dict = read_weights(config.model.weights).state_dict
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


def _announce(config: Config, model: YOLOX, train_set: Dataset, val_set: Dataset) -> None:
    """Says what is about to be trained, on what."""
    summary = summarize(model, config.data.input_size)
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
    crowded = num_records_above(train_set, config.data.max_boxes)
    if crowded:
        logger.warning(
            "train: %d images hold more than --data.max-boxes %d; of those the first are trained on",
            crowded,
            config.data.max_boxes,
        )
