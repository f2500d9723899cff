"""All settings of an experiment as frozen dataclasses, each with its meaning, unit, range and source.

A config file is a Python file with a function `get_config()` that returns a `Config`; `configs/` holds one for each
experiment. Each section has a file of its own in this package. The docstrings are what `--help` shows. Comments name
the sections of docs/yolox.md that explain a default.
"""

import dataclasses

from yolox_jax.config.assignment import AssignmentConfig, LossConfig
from yolox_jax.config.data import DataConfig
from yolox_jax.config.evaluation import EvaluationConfig
from yolox_jax.config.model import ModelConfig
from yolox_jax.config.optimization import OptimizerConfig, ScheduleConfig
from yolox_jax.config.ranges import CountOrZero
from yolox_jax.config.training import TrainConfig


class ConfigError(ValueError):
    """A setting is invalid; the message names it and says which values are valid."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    assignment: AssignmentConfig = AssignmentConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: CountOrZero = 0
    """Random seed of the run: initial weights, order of the images and all augmentation."""
