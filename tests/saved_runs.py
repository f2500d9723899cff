"""What a run has left in its folder, for comparing runs to the bit."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from yolox_jax.config import Config
from yolox_jax.training.build import build_training
from yolox_jax.training.checkpoints import Checkpoints
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.state import TrainState

VOLATILE = {"images_per_second", "data_wait", "transfer_wait", "memory_mib", "utilization"}
"""Metrics that differ even between identical runs."""


def saved_state(config: Config, num_classes: int, workdir: Path) -> TrainState:
    """The newest checkpoint of a run: weights, averages, statistics, optimizer and counts."""
    like = build_training(RunSchedule(config, steps_per_epoch=1), num_classes).state
    with Checkpoints(RunDirectory(workdir).checkpoints, config.train.keep_checkpoints) as checkpoints:
        return checkpoints.restore(like, jax.sharding.SingleDeviceSharding(jax.devices()[0]))[0]


def differing_parts(expected: TrainState, found: TrainState) -> set[str]:
    """Names of the parts of two states that are not the same to the bit."""
    return {
        name
        for name in expected._fields
        if not all(map(np.array_equal, *map(jax.tree.leaves, (getattr(expected, name), getattr(found, name)))))
    }


def lasting_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` without times, rates and memory."""
    return [
        {name: value for name, value in record.items() if name not in VOLATILE}
        for record in read_metrics(RunDirectory(workdir).metrics)
    ]
