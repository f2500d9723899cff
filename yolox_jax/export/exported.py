"""Opens exported files of any format, with the runners that users get beside them."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from yolox_jax.config import ConfigError


@runtime_checkable
class ExportedDetector(Protocol):
    """What the runners have in common."""

    metadata: dict[str, str]
    """What the file says about itself, as text or JSON: see `ExportSettings.metadata`."""

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[Float[np.ndarray, "N 4"], Float[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """Boxes (x1, y1, x2, y2 in px of the image), scores and classes of the objects in a BGR image, best first."""


def open_exported(path: Path) -> ExportedDetector:
    """Open a file that `yolox_jax.export` wrote.

    Raises:
        ConfigError: the suffix is that of no format, the package that runs it is missing, or it cannot be run.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix == ".onnx":
        try:
            from yolox_jax.export import onnx_runner
        except ModuleNotFoundError as error:
            raise ConfigError(f"running {path} needs the package onnxruntime: pip install onnxruntime") from error
        try:
            return onnx_runner.OnnxDetector(path)
        except onnx_runner.ModelFileError as error:
            raise ConfigError(str(error)) from error
    if path.suffix == ".stablehlo":
        try:
            from yolox_jax.export import stablehlo_runner

            return stablehlo_runner.StablehloDetector(path)
        except ModuleNotFoundError as error:
            raise ConfigError(f"running {path} needs flatbuffers: pip install 'yolox-jax[stablehlo]'") from error
        except stablehlo_runner.ModelFileError as error:
            raise ConfigError(str(error)) from error
    raise ConfigError(f"{path} must be an exported file that ends in .onnx or .stablehlo")
