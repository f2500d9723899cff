"""Opens exported files of any format, with the runners that users get beside them."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt

from yolox_jax.config import ConfigError
from yolox_jax.export.onnx_runner import OnnxDetector, Runtime


@runtime_checkable
class ExportedDetector(Protocol):
    """What the runners have in common."""

    metadata: dict[str, str]
    """What the file says about itself, as text or JSON: see `ExportSettings.metadata`."""

    def __call__(
        self, image: UInt[np.ndarray, "H W C"]
    ) -> tuple[Float[np.ndarray, "N 4"], Float[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """Boxes (x1, y1, x2, y2 in px of the image), scores and classes of the objects in an image, best first."""


def open_exported(path: Path, *, runtime: Runtime = "onnxruntime") -> ExportedDetector:
    """Open a file that `yolox_jax.export` wrote.

    Args:
        path: an .onnx or .stablehlo file.
        runtime: onnxruntime or openvino, for ONNX files.

    Raises:
        ConfigError: the suffix is that of no format, the package that runs it is missing, or it cannot be run.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix not in (".onnx", ".stablehlo"):
        raise ConfigError(f"{path} must be an exported file that ends in .onnx or .stablehlo")
    # Each imports what its format needs.
    try:
        if path.suffix == ".onnx":
            return OnnxDetector(path, runtime=runtime)
        from yolox_jax.export.stablehlo_runner import StablehloDetector

        return StablehloDetector(path)
    except ModuleNotFoundError as error:
        package = error.name
        extra = "stablehlo" if package == "flatbuffers" else "openvino" if package == "openvino" else "onnx"
        raise ConfigError(f"running {path} needs the package {package}: pip install 'yolox-jax[{extra}]'") from error
    except ValueError as error:  # `ModelFileError` of the runners
        raise ConfigError(str(error)) from error
