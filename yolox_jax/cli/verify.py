"""`yolox-jax verify`: compares an exported file with its weights on images."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yolox_jax.cli.parsing import parse
from yolox_jax.cli.published import WeightsPath
from yolox_jax.cli.verification import MOST_IMAGES, verify
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder


@dataclasses.dataclass(frozen=True)
class VerifyArguments:
    """What to compare, and how much it may differ."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The exported file, .onnx or .stablehlo."""
    weights: WeightsPath
    """The weights it was exported from: a .pth, .safetensors or .npz file, a run directory, or the name of published
    weights, such as yolox_s."""
    data: Path
    """Images to compare on: a data.yaml (YOLO), a COCO JSON file or the folder of a dataset, whose validation split is
    used and gives the AP of both; or an image, a folder of images, or a pattern such as 'photos/*.jpg'."""
    runtime: Literal["onnxruntime", "openvino"] = "onnxruntime"
    """What runs an ONNX file. `openvino` is an extra: `pip install 'yolox-jax[openvino]'`."""
    limit: int = MOST_IMAGES
    """Maximum number of images, spread evenly; 0 for all."""
    box_tolerance: float | None = None
    """Difference of box edges that does not count, in px of the network input. By default 0.5; 4 in float16, 16 in
    bfloat16."""
    score_tolerance: float | None = None
    """Difference of scores that does not count. By default 0.001; 0.03 in float16, 0.1 in bfloat16."""
    changed_tolerance: float | None = None
    """Share of detections that may be lost, gained or different. Rounding can decide which of two boxes suppresses the
    other. By default 0.001; 0.05 in float16, 0.1 in bfloat16."""
    output: Path | None = None
    """JSON file for the differences of each image."""


def main(argv: list[str]) -> int:
    """Compares; `argv` is the command line after `verify`. Returns 1 if the file differs from its weights."""
    arguments = parse(
        VerifyArguments,
        argv,
        prog="yolox-jax verify",
        description="Compare the detections of an exported file with those of its weights, on your own images. The "
        "exit code is 1 if they differ.",
    )
    if arguments.limit < 0:
        raise ConfigError(f"--limit must be 0 or more; got {arguments.limit}")
    if arguments.output is not None:
        ensure_writable_folder(arguments.output.parent, "the folder of --output,")
    tolerances = (arguments.box_tolerance, arguments.score_tolerance, arguments.changed_tolerance)
    return verify(
        arguments.file,
        arguments.weights,
        arguments.data,
        runtime=arguments.runtime,
        limit=arguments.limit,
        tolerances=tolerances,
        output=arguments.output,
    )
