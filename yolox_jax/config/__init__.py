"""The settings of a run: their meaning, their valid values, and config files."""

from yolox_jax.config.assignment import AssignmentConfig as AssignmentConfig
from yolox_jax.config.assignment import LossConfig as LossConfig
from yolox_jax.config.assignment import OTAConfig as OTAConfig
from yolox_jax.config.augment import AugmentConfig as AugmentConfig
from yolox_jax.config.schedule import peak_learning_rate as peak_learning_rate
from yolox_jax.config.schedule import scale_schedule as scale_schedule
from yolox_jax.config.settings import NUM_LEVELS as NUM_LEVELS
from yolox_jax.config.settings import STRIDE as STRIDE
from yolox_jax.config.settings import Config as Config
from yolox_jax.config.settings import ConfigError as ConfigError
from yolox_jax.config.settings import DataConfig as DataConfig
from yolox_jax.config.settings import DatasetConfig as DatasetConfig
from yolox_jax.config.settings import EvaluationConfig as EvaluationConfig
from yolox_jax.config.settings import ModelConfig as ModelConfig
from yolox_jax.config.settings import OptimizerConfig as OptimizerConfig
from yolox_jax.config.settings import ScheduleConfig as ScheduleConfig
from yolox_jax.config.settings import TrainConfig as TrainConfig
from yolox_jax.config.settings import Variant as Variant
