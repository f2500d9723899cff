"""YOLOX in JAX and Flax NNX: models, training, evaluation and inference.

The public names are resolved on first use, so that `import yolox_jax.data` loads no jax: the
workers that read images do so.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolox_jax.evaluation import evaluate as evaluate
    from yolox_jax.inference.detector import Detector as Detector
    from yolox_jax.models import create_model as create_model
    from yolox_jax.weights import load_weights as load_weights

    __version__: str

_HOME = {
    "Detector": "yolox_jax.inference.detector",
    "create_model": "yolox_jax.models",
    "evaluate": "yolox_jax.evaluation",
    "load_weights": "yolox_jax.weights",
}

__all__ = ["Detector", "__version__", "create_model", "evaluate", "load_weights"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _installed_version() -> str:
    """The version of the installed package; "unknown" for a checkout that is merely on the path."""
    metadata = import_module("importlib.metadata")
    try:
        version: str = metadata.version("yolox-jax")
    except metadata.PackageNotFoundError:
        return "unknown"
    return version
