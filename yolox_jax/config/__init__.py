"""The settings of a run: their meaning, their valid values, and config files."""

from yolox_jax.config.assignment import AssignmentConfig as AssignmentConfig
from yolox_jax.config.assignment import LossConfig as LossConfig
from yolox_jax.config.assignment import OTAConfig as OTAConfig
from yolox_jax.config.augment import AugmentConfig as AugmentConfig
from yolox_jax.config.data import PADDING as PADDING
from yolox_jax.config.data import SCALE_OF_16_BITS as SCALE_OF_16_BITS
from yolox_jax.config.data import DataConfig as DataConfig
from yolox_jax.config.data import DatasetConfig as DatasetConfig
from yolox_jax.config.evaluation import EvaluationConfig as EvaluationConfig
from yolox_jax.config.model import LEVELS as LEVELS
from yolox_jax.config.model import NUM_LEVELS as NUM_LEVELS
from yolox_jax.config.model import STRIDE as STRIDE
from yolox_jax.config.model import STRIDES as STRIDES
from yolox_jax.config.model import ModelConfig as ModelConfig
from yolox_jax.config.model import Variant as Variant
from yolox_jax.config.optimization import OptimizerConfig as OptimizerConfig
from yolox_jax.config.optimization import ScheduleConfig as ScheduleConfig
from yolox_jax.config.optimization import with_optimizer as with_optimizer
from yolox_jax.config.schedule import peak_learning_rate as peak_learning_rate
from yolox_jax.config.schedule import scale_schedule as scale_schedule
from yolox_jax.config.settings import Config as Config
from yolox_jax.config.settings import ConfigError as ConfigError
from yolox_jax.config.training import TrainConfig as TrainConfig
