"""Export of networks as files that other programs run.

`yolox_jax.export` is this package and its main function at once: `yolox_jax.export("runs/x", "x.onnx")`.
"""

import inspect
import sys
from types import ModuleType
from typing import Any

from yolox_jax.export.exporter import ExportedFile, export

__all__ = ["ExportedFile", "export"]


class _CallableModule(ModuleType):
    """Importing anything from this package binds `yolox_jax.export` to the module, so the module forwards calls."""

    def __call__(self, *args: Any, **kwargs: Any) -> ExportedFile:
        return export(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
__signature__ = inspect.signature(export)  # what help() and notebooks show
