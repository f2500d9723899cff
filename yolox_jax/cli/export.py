"""`yolox-jax export`: writes a network as one file that runs without this package."""

import dataclasses
from pathlib import Path
from typing import Literal

from yolox_jax.cli.parsing import parse
from yolox_jax.cli.published import WeightsPath, fetch_if_published
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder

SUFFIXES = {"stablehlo": ".stablehlo", "onnx": ".onnx"}


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Weights, format and settings of the file."""

    weights: WeightsPath
    """A .pth, .safetensors or .npz file, a run directory, or the name of published weights, such as yolox_s."""
    format: Literal["stablehlo", "onnx"]
    """stablehlo: for jax on CPUs, GPUs and TPUs. onnx: for ONNX Runtime, TensorRT, OpenVINO and others."""
    output: Path
    """Output file, .stablehlo or .onnx. Its folder is created if it does not exist."""
    input_size: tuple[int, int] | None = None
    """Height and width of the network input in px, multiples of 32. By default, the size stored with the weights,
    otherwise the published one of their variant."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Compute dtype of the network. bfloat16 is only for stablehlo."""
    batch: int | None = None
    """Batch size. By default, the file takes any number of images."""
    nms: bool = True
    """Include non-maximum suppression. Without it, the file outputs the predictions of all anchors, as TensorRT,
    OpenVINO or ncnn expect them."""
    score_threshold: float = 0.25
    """Minimum score of a detection."""
    iou_threshold: float = 0.45
    """IoU threshold of non-maximum suppression."""
    class_agnostic: bool = False
    """Suppress overlapping boxes of different classes, too."""
    max_detections: int = 1000
    """Maximum number of detections per image; the outputs are padded to it."""
    platforms: tuple[Literal["cpu", "cuda", "tpu"], ...] | None = None
    """stablehlo: the platforms that the file can run on. All three by default."""
    opset: int | None = None
    """onnx: version of the operator set, 13 or newer; older runtimes need an older one. 17 by default."""
    runner: bool = False
    """onnx: also write onnx_runner.py, which runs the file with only numpy, OpenCV and onnxruntime."""


def main(argv: list[str]) -> None:
    """Exports; `argv` is the command line after `export`."""
    arguments = parse(
        ExportArguments,
        argv,
        prog="yolox-jax export",
        description="Export a network as one file, from a batch of uint8 images to detections, that runs without this "
        "package.",
        flag_pairs=True,
    )
    _check(arguments)
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.export.export import export
    from yolox_jax.export.runner_copy import copy_runner

    exported = export(
        fetch_if_published(arguments.weights),
        arguments.output,
        input_size=arguments.input_size,
        platforms=arguments.platforms,
        opset=arguments.opset,
        precision=arguments.precision,
        batch=arguments.batch,
        nms=arguments.nms,
        score_threshold=arguments.score_threshold,
        iou_threshold=arguments.iou_threshold,
        class_agnostic=arguments.class_agnostic,
        max_detections=arguments.max_detections,
    )
    if arguments.runner:
        print(f"wrote {copy_runner(arguments.output.parent)}")
    height, width = exported.settings.input_size
    print(
        f"wrote {arguments.output}: {exported.variant}, {exported.num_classes} classes, {height}x{width} px, "
        f"{arguments.precision}, batch size {arguments.batch or 'any'}, "
        f"{arguments.output.stat().st_size / 2**20:.1f} MiB. See docs/export.md for how to run it"
    )


def _check(arguments: ExportArguments) -> None:
    """Rejects what can be rejected before jax is loaded."""
    from yolox_jax.export.runner_copy import check_runner_copy

    suffix = SUFFIXES[arguments.format]
    if arguments.output.suffix != suffix:
        raise ConfigError(
            f"--output must be a file name that ends in {suffix} for --format {arguments.format}; "
            f"got {arguments.output}"
        )
    if arguments.output.is_dir():
        raise ConfigError(f"--output {arguments.output} is a folder; pass a file name")
    for flag, value, format in (
        ("--platforms", arguments.platforms, "stablehlo"),
        ("--opset", arguments.opset, "onnx"),
        ("--runner", arguments.runner or None, "onnx"),
    ):
        if value is not None and arguments.format != format:
            raise ConfigError(f"{flag} applies only to --format {format}; leave it out")
    if arguments.runner:
        check_runner_copy(arguments.output.parent)
    ensure_writable_folder(arguments.output.parent, "the folder of --output,")
