"""What a run needs before its first step: its directory, its datasets, and the weights it starts from."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Shaped

from yolox_jax.config import NUM_LEVELS, Config, ConfigError, DataConfig, DatasetConfig, ModelConfig
from yolox_jax.config.checks import check_anchor_boxes, check_config, check_multiscale_range
from yolox_jax.config.names import initial_weights_name
from yolox_jax.data.augment.source_pool import check_whole_groups
from yolox_jax.data.class_weights import class_weights
from yolox_jax.data.dataset import Dataset, check_same_classes, fingerprint
from yolox_jax.data.hooks import Hook, Hooks, check_archives, check_drawing, checked_hooks
from yolox_jax.data.image_order import steps_per_epoch
from yolox_jax.data.sources import open_datasets, use_dataset
from yolox_jax.evaluation.best_by import check_best_by
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted
from yolox_jax.training.distributed import check_same_settings, connect, first_process_first
from yolox_jax.training.extension import Extension, extended, plan_extension, read_extensions
from yolox_jax.training.fitting_batch import fitting_batch_size, smallest_batch_size, with_batch_size
from yolox_jax.training.reporting.metric_writers import check_metric_writers
from yolox_jax.training.run_directory import (
    RunDirectory,
    check_same_data,
    open_run_directory,
    recorded_config,
    saved_steps,
    shared_settings,
)
from yolox_jax.training.run_lock import RunLock
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh
from yolox_jax.weights import describe, read_weights, resolve
from yolox_jax.weights.class_order import with_class_order
from yolox_jax.weights.description import Description
from yolox_jax.weights.rescale import rescale_filters
from yolox_jax.weights.stem import image_channels, with_channels

logger = logging.getLogger("yolox_jax.training")


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """A run whose config, directory and datasets have been checked."""

    config: Config
    directory: RunDirectory
    resuming: bool
    """Whether there is a checkpoint to resume from."""
    train_set: Dataset
    val_set: Dataset
    hooks: Hooks
    """The user's own augmentation."""
    class_weights: tuple[float, ...] | None
    """Weight of each class in the classification loss; None if all count alike."""
    extensions: tuple[Extension, ...]
    """Where the run has gone on, or goes on now, with other settings."""
    is_extended_now: bool
    """Whether the last of them begins with this start."""

    @property
    def num_classes(self) -> int:
        """Number of classes in the datasets."""
        return len(self.train_set.class_names)

    @property
    def schedule(self) -> RunSchedule:
        """What happens at each step."""
        steps = steps_per_epoch(self.train_set.records, self.config)
        return extended(RunSchedule(self.config, steps, class_weights=self.class_weights), self.extensions)


@contextlib.contextmanager
def prepare(
    config: Config,
    workdir: Path,
    *,
    resume: bool,
    extend: bool = False,
    auto_batch_size: bool = False,
    train_set: Dataset | None = None,
    val_set: Dataset | None = None,
    augment: Mapping[str, Hook] | None = None,
) -> Iterator[PreparedRun]:
    """Checks the config, the run directory and the datasets, before any work is done.

    The run directory is locked while the context is open. With several processes that have the same config, either all
    of them enter it or all of them raise. Process 0 goes first, because it creates the directory and generates images
    that the others then find. `train_set` and `val_set` take the place of the files that the config names. With
    `auto_batch_size`, the batch size is that of the run to resume, or else the largest that fits.

    Raises:
        ConfigError: a setting or hook is invalid, a dataset lacks a class that a setting names, the run directory
            cannot be used with the config, or the processes disagree.
        DataError: annotations are invalid or missing.
    """
    if extend and not resume:
        raise ConfigError("--extend needs --resume: it continues the run in --workdir with other settings")
    check_config(config)
    check_anchor_boxes(config)
    check_multiscale_range(config)
    hooks = checked_hooks(augment, config.data.num_workers)
    check_drawing(hooks, config.data.augment)
    check_archives(train_set, config.data.num_workers)
    config = _without_files(config, train_set, val_set)
    recorded = _recorded_batch_size(RunDirectory(workdir)) if resume and auto_batch_size else None
    if auto_batch_size:
        config = with_batch_size(config, recorded or smallest_batch_size(config))
    mesh = create_mesh(config.train)
    if recorded is not None or not auto_batch_size:
        check_whole_groups(config, mesh.size)
    connect(mesh)
    check_same_settings({"resume": resume, "extend": extend, "augment": hooks.names, **shared_settings(config)})
    with contextlib.ExitStack() as stack:
        run = first_process_first(
            lambda: _prepare_here(
                config, RunDirectory(workdir), stack, train_set, val_set, hooks, resume=resume, extend=extend
            )
        )
        # Differs between processes that do not share a file system.
        lock = "the lock" if run.directory.lock.exists() else "no lock"
        check_same_settings(
            {
                "data.train": fingerprint(run.train_set),
                "data.val": fingerprint(run.val_set),
                "workdir": f"a folder with {lock} and the checkpoints {saved_steps(run.directory.checkpoints)}",
            }
        )
        if auto_batch_size and recorded is None:
            batch_size = fitting_batch_size(config, run.num_classes, len(run.train_set.records))
            run = dataclasses.replace(run, config=with_batch_size(config, batch_size))
            check_config(run.config)
            check_whole_groups(run.config, mesh.size)
        yield run


def _recorded_batch_size(run: RunDirectory) -> int | None:
    """The batch size of a run that can be resumed."""
    if not (run.config.exists() and saved_steps(run.checkpoints)):
        return None
    return recorded_config(run).train.batch_size


def _without_files(config: Config, train_set: Dataset | None, val_set: Dataset | None) -> Config:
    """The config without the files that datasets from Python replace, so that the record of the run names no others."""
    data = config.data
    if train_set is not None:
        data = dataclasses.replace(data, train=DatasetConfig(), more_train=())
    if val_set is not None:
        data = dataclasses.replace(data, val=DatasetConfig(), more_val=())
    return dataclasses.replace(config, data=data)


def _prepare_here(
    config: Config,
    directory: RunDirectory,
    stack: contextlib.ExitStack,
    train_set: Dataset | None,
    val_set: Dataset | None,
    hooks: Hooks,
    *,
    resume: bool,
    extend: bool,
) -> PreparedRun:
    is_first = jax.process_index() == 0
    if is_first:
        check_metric_writers(config.train.loggers)
        lock = stack.enter_context(RunLock(directory))
        open_run_directory(directory.root, config, resume=resume, extend=extend)
        # Before looking for checkpoints: a run that ends just now may still write one.
        lock.acquire()
        ensure_writable_folder(directory.checkpoints, "--workdir: the checkpoint folder")
    train_set, val_set = _dataset(train_set, config.data, "train"), _dataset(val_set, config.data, "val")
    check_same_classes(train_set, val_set)
    check_best_by(config.evaluation.best_by, val_set)
    weights = class_weights(config.loss, train_set, config.data.repeat_threshold)
    extension = plan_extension(directory, config, train_set, hooks) if extend else None
    if is_first and extension is None:
        check_same_data(directory, config, train_set, hooks)
    resuming = resume and bool(saved_steps(directory.checkpoints))
    extensions = read_extensions(directory) if resuming else ()
    extensions += () if extension is None else (extension,)
    return PreparedRun(
        config,
        directory,
        resuming,
        train_set,
        val_set,
        hooks,
        weights,
        extensions,
        is_extended_now=extension is not None,
    )


def _dataset(given: Dataset | None, data: DataConfig, which: Literal["train", "val"]) -> Dataset:
    if given is None:
        return open_datasets(data, which)
    return use_dataset(given, data, which, argument=f"{which}_set")


def initial_weights(config: Config, class_names: Sequence[str]) -> Mapping[str, Shaped[np.ndarray, "..."]] | None:
    """The state dict of `model.weights`, under the original's names; None to train from scratch.

    Class predictions are in the order of `class_names`, if the weights are of these classes in another order. The first
    convolution is adapted to `data.channels`.

    Raises:
        ConfigError: the weights belong to another variant.
        WeightsError, FileNotFoundError: the weights cannot be read.
    """
    if not config.model.weights:
        return None
    state_dict = with_class_order(read_weights(resolve(initial_weights_name(config.model))), class_names)
    _check_network(describe(state_dict), config.model)
    state_dict, own = with_channels(state_dict, config.data.channels), image_channels(state_dict)
    if own != config.data.channels:
        logger.info(
            "%s: first convolution adapted to images of %s (%s in the weights)",
            config.model.weights,
            counted(config.data.channels, "channel"),
            own,
        )
    return rescale_filters(state_dict) if config.model.rescale_filters else state_dict


def _check_network(weights: Description, model: ModelConfig) -> None:
    """Raises ConfigError if the weights are those of another variant or head."""
    if weights.variant != model.variant:
        raise ConfigError(
            f"--model.weights {model.weights} contains weights of {weights.variant}, but --model.variant is "
            f"{model.variant}. Change one of them"
        )
    boxes_per_cell = len(model.anchors) // NUM_LEVELS or 1
    if (weights.head, weights.boxes_per_cell) != (model.head, boxes_per_cell):
        if weights.boxes_per_cell > 1:
            anchors = f"{weights.boxes_per_cell * NUM_LEVELS} --model.anchors and --assignment.rule yolov3"
        else:
            anchors = "no --model.anchors and an anchor-free --assignment.rule, such as simota"
        raise ConfigError(
            f"--model.weights {model.weights} contains weights of a {weights.head} head with "
            f"{counted(weights.boxes_per_cell, 'prediction')} a cell, but the config has a {model.head} head with "
            f"{boxes_per_cell}. They fit --model.head {weights.head} with {anchors}; without --model.weights, the "
            "network is trained from scratch"
        )
