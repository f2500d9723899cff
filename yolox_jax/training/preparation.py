"""What a run needs before its first step: the devices, its directory, its datasets, and the weights it starts from."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Shaped

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config, check_multiscale_range
from yolox_jax.data.dataset import Dataset, check_same_classes, fingerprint
from yolox_jax.data.pipeline import steps_per_epoch
from yolox_jax.data.sources import open_datasets
from yolox_jax.training.distributed import check_same_settings, connect, first_process_first
from yolox_jax.training.reporting.metric_writers import check_metric_writers
from yolox_jax.training.run_directory import (
    RunDirectory,
    check_same_data,
    open_run_directory,
    saved_steps,
    shared_settings,
)
from yolox_jax.training.step.mesh import create_mesh
from yolox_jax.weights import describe, read_weights, resolve

logger = logging.getLogger("yolox_jax.training")


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to start: all its inputs have been checked."""

    config: Config
    directory: RunDirectory
    resuming: bool
    """Whether there is a checkpoint to resume from."""
    train_set: Dataset
    val_set: Dataset
    initial_weights: Mapping[str, Shaped[np.ndarray, "..."]] | None
    """State dict of `model.weights`, under the original's names; None when resuming or training from scratch."""

    @property
    def num_classes(self) -> int:
        """Number of classes in the datasets."""
        return len(self.train_set.class_names)

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in one epoch."""
        return steps_per_epoch(len(self.train_set.records), self.config.train.batch_size)

    @property
    def total_steps(self) -> int:
        """Training steps in the whole run."""
        return self.config.schedule.epochs * self.steps_per_epoch


def prepare(config: Config, workdir: Path, *, resume: bool) -> PreparedRun:
    """Checks the config, the run directory, the datasets and the initial weights, before any work is done.

    With several processes, either all of them return or all of them raise. Process 0 goes first, because it creates
    the directory and generates images that the others then find.

    Raises:
        ConfigError: a setting is invalid, the run directory cannot be used with the config, or the processes disagree.
        DataError: annotations are invalid or missing.
        WeightsError, FileNotFoundError: `model.weights` cannot be read.
    """
    check_config(config)
    check_multiscale_range(config)
    connect(create_mesh(config.train))
    check_same_settings({"resume": resume, **shared_settings(config)})
    prepared = first_process_first(lambda: _prepare_here(config, RunDirectory(workdir), resume=resume))
    check_same_settings(
        {
            "data.train": fingerprint(prepared.train_set),
            "data.val": fingerprint(prepared.val_set),
            # Differs where the processes do not share a file system.
            "workdir": f"a folder with the checkpoints {saved_steps(prepared.directory.checkpoints)}"
            if prepared.directory.checkpoints.is_dir()
            else "a folder that process 0 has not written to",
        }
    )
    return prepared


def _prepare_here(config: Config, directory: RunDirectory, *, resume: bool) -> PreparedRun:
    writes = jax.process_index() == 0
    if writes:
        check_metric_writers(config.train.loggers)
        open_run_directory(directory.root, config, resume=resume)
    train_set, val_set = open_datasets(config.data, "train"), open_datasets(config.data, "val")
    check_same_classes(train_set, val_set)
    if writes:
        check_same_data(directory, train_set)
    resuming = resume and bool(saved_steps(directory.checkpoints))
    weights = None if resuming else _initial_weights(config)
    return PreparedRun(config, directory, resuming, train_set, val_set, weights)


def _initial_weights(config: Config) -> Mapping[str, Shaped[np.ndarray, "..."]] | None:
    if not config.model.weights:
        return None
    state_dict = read_weights(resolve(config.model.weights)).state_dict
    variant, _ = describe(state_dict)
    if variant != config.model.variant:
        raise ConfigError(
            f"--model.weights {config.model.weights} contains weights of {variant}, but --model.variant is "
            f"{config.model.variant}. Change one of them"
        )
    return state_dict
