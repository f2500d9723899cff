"""YOLOX in JAX and Flax NNX: models, training, evaluation, inference and export.

    config = yolox_jax.load_config("yolox_nano")
    result = yolox_jax.train(config, workdir="runs/mine")
    detections = yolox_jax.Detector(weights="runs/mine")("street.jpg")

The public names are resolved on first use. Thus `import yolox_jax.data` does not load jax, which processes that load
images must not do.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolox_jax.config import Config as Config
    from yolox_jax.config import ConfigError as ConfigError
    from yolox_jax.config.files import load_config as load_config
    from yolox_jax.data.dataset import DataError as DataError
    from yolox_jax.data.image import BrokenImage as BrokenImage
    from yolox_jax.data.sources.python_items import make_dataset as make_dataset
    from yolox_jax.evaluation.api import evaluate as evaluate
    from yolox_jax.export.exporter import export as export
    from yolox_jax.inference.detector import Detector as Detector
    from yolox_jax.models import create_model as create_model
    from yolox_jax.models import summarize as summarize
    from yolox_jax.training.callbacks import StopTraining as StopTraining
    from yolox_jax.training.callbacks import TrainingEvent as TrainingEvent
    from yolox_jax.training.checkpoints import CheckpointError as CheckpointError
    from yolox_jax.training.interruption import Interrupted as Interrupted
    from yolox_jax.training.reporting.non_finite import TrainingError as TrainingError
    from yolox_jax.training.trainer import TrainingResult as TrainingResult
    from yolox_jax.training.trainer import train as train
    from yolox_jax.weights import WeightsError as WeightsError
    from yolox_jax.weights import load_weights as load_weights

    __version__: str

_HOME = {
    "BrokenImage": "yolox_jax.data.image",
    "CheckpointError": "yolox_jax.training.checkpoints",
    "Config": "yolox_jax.config",
    "ConfigError": "yolox_jax.config",
    "DataError": "yolox_jax.data.dataset",
    "Detector": "yolox_jax.inference.detector",
    "Interrupted": "yolox_jax.training.interruption",
    "StopTraining": "yolox_jax.training.callbacks",
    "TrainingError": "yolox_jax.training.reporting.non_finite",
    "TrainingEvent": "yolox_jax.training.callbacks",
    "TrainingResult": "yolox_jax.training.trainer",
    "WeightsError": "yolox_jax.weights",
    "create_model": "yolox_jax.models",
    "evaluate": "yolox_jax.evaluation.api",
    "load_config": "yolox_jax.config.files",
    "load_weights": "yolox_jax.weights",
    "make_dataset": "yolox_jax.data.sources.python_items",
    "summarize": "yolox_jax.models",
    "train": "yolox_jax.training.trainer",
}

__all__ = ["__version__", "export", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("yolox_jax.files").package_version()
    if name == "export":  # the package, which is callable: importing anything from it binds this name to it anyway
        return import_module("yolox_jax.export")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
