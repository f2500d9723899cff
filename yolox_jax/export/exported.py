"""Opens exported files of any format, with the runners that users get beside them."""

import importlib
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.export.onnx_runner import Runtime
from yolox_jax.export.yolox_detection import ExportedDetector

DETECTORS = {
    ".onnx": ("onnx_runner", "OnnxDetector"),
    ".stablehlo": ("stablehlo_runner", "StablehloDetector"),
    ".tflite": ("litert_runner", "LiteRtDetector"),
    ".param": ("ncnn_runner", "NcnnDetector"),
}
"""By suffix, the module here and its class that opens a file. Each imports what its format needs."""
EXTRAS = {
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "flatbuffers": "stablehlo",
    "ai_edge_litert": "litert",
    "ncnn": "ncnn",
}
"""The extras of this package with the packages that runners import."""


NETWORKS = ("network.onnx", "1/model.onnx")
"""Where the folder of a web page or of a model of Triton has the network."""


def open_exported(path: Path, *, runtime: Runtime = "onnxruntime") -> ExportedDetector:
    """Open a file that `yolox_jax.export` wrote.

    Args:
        path: a file with a suffix of `DETECTORS`.
        runtime: onnxruntime, openvino or tensorrt, for ONNX files.

    Raises:
        ConfigError: the suffix is that of no format, the package that runs it is missing, or it cannot be run.
        FileNotFoundError: there is no such file.
    """
    if path.suffix == ".mlpackage":
        raise ConfigError(f"{path} runs on macOS only, and has no runner")
    if path.is_dir():
        inside = [str(path / name) for name in NETWORKS if (path / name).is_file()]
        raise ConfigError(f"{path} is a folder. Pass {' or '.join(inside) or 'the file in it'}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix not in DETECTORS:
        raise ConfigError(f"{path} must be an exported file that ends in {' or '.join(DETECTORS)}")
    if runtime != "onnxruntime" and path.suffix != ".onnx":
        raise ConfigError(f"--runtime {runtime} runs .onnx files; leave it out for {path}")
    module, name = DETECTORS[path.suffix]
    options = {"runtime": runtime} if path.suffix == ".onnx" else {}
    try:
        return getattr(importlib.import_module(f"yolox_jax.export.{module}"), name)(path, **options)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        extra = EXTRAS.get(package)
        if extra is None:
            raise
        raise ConfigError(f"running {path} needs the package {package}: pip install 'yolox-jax[{extra}]'") from error
    except ValueError as error:  # `ModelFileError` of the runners
        raise ConfigError(str(error)) from error
