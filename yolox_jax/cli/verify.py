"""`yolox-jax verify`: compares an exported file with its weights on images."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yolox_jax.cli.parsing import parse
from yolox_jax.cli.published import WeightsPath
from yolox_jax.cli.verification import MOST_IMAGES, ImagesToCompare, verify
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder


@dataclasses.dataclass(frozen=True)
class VerifyArguments:
    """What to compare, and how much it may differ."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The exported file, .onnx, .stablehlo, .tflite or .param."""
    weights: WeightsPath
    """The weights it was exported from: a .pth, .safetensors or .npz file, a run directory, or the name of published
    weights, such as yolox_s."""
    data: Path
    """Images to compare on: a data.yaml (YOLO), a COCO JSON file or the folder of a dataset, whose validation split is
    used and gives the AP of both; or an image, a folder of images, or a pattern such as 'photos/*.jpg'."""
    runtime: Literal["onnxruntime", "openvino", "tensorrt"] = "onnxruntime"
    """What runs an ONNX file. `openvino` is an extra: `pip install 'yolox-jax[openvino]'`. `tensorrt` needs an NVIDIA
    GPU and the packages tensorrt and cuda-python."""
    limit: int = MOST_IMAGES
    """Maximum number of images, spread evenly; 0 for all."""
    box_tolerance: float | None = None
    """Difference of box edges that does not count, in px of the network input. By default 0.5; 4 in float16, 16 in
    bfloat16 and int8."""
    score_tolerance: float | None = None
    """Difference of scores that does not count. By default 0.001; 0.03 in float16, 0.1 in bfloat16 and
    int8."""
    changed_tolerance: float | None = None
    """Share of detections that may be lost, gained or different. Rounding can decide which of two boxes suppresses the
    other. By default 0.001; 0.05 in float16, 0.1 in bfloat16, 0.15 in int8."""
    output: Path | None = None
    """JSON file for the differences of each image."""


def main(argv: list[str]) -> int:
    """Compares; `argv` is the command line after `verify`. Returns 1 unless the file detects what its weights do."""
    arguments = parse(
        VerifyArguments,
        argv,
        prog="yolox-jax verify",
        description="Compare the detections of an exported file with those of its weights, on your own images. The "
        "exit code is 1 if they differ, or if there are none.",
    )
    if arguments.limit < 0:
        raise ConfigError(f"--limit must be 0 or more; got {arguments.limit}")
    tolerances = _tolerances(arguments)
    if arguments.output is not None:
        ensure_writable_folder(arguments.output.parent, "the folder of --output,")
    return verify(
        arguments.file,
        arguments.weights,
        ImagesToCompare.at(arguments.data, flag="--data", limit=arguments.limit),
        runtime=arguments.runtime,
        tolerances=tolerances,
        output=arguments.output,
    )


def _tolerances(arguments: VerifyArguments) -> tuple[float | None, float | None, float | None]:
    """Those given, each None by default.

    Raises:
        ConfigError: One of them is out of range.
    """
    tolerances = arguments.box_tolerance, arguments.score_tolerance, arguments.changed_tolerance
    for name, value, most in zip(("box", "score", "changed"), tolerances, (math.inf, 1.0, 1.0), strict=True):
        if value is not None and not 0 <= value <= most:
            allowed = "at least 0" if most == math.inf else f"between 0 and {most:g}"
            raise ConfigError(f"--{name}-tolerance must be {allowed}; got {value}")
    return tolerances
