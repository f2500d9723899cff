"""`yolox-jax export`: writes a network as one file that runs without this package."""

import dataclasses
import shutil
from pathlib import Path
from typing import Literal

import tyro

from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder

RUNNER = Path(__file__).parents[1] / "export" / "onnx_runner.py"
SUFFIXES = {"stablehlo": ".stablehlo", "onnx": ".onnx"}


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """Write a network as one file, from a batch of uint8 images to detections, that runs without this package."""

    weights: Path
    """Weights: .pth, .safetensors, .npz, a run directory, or the name of a published network, such as yolox_s."""
    format: Literal["stablehlo", "onnx"]
    """stablehlo: for jax on CPUs, GPUs and TPUs. onnx: for ONNX Runtime, TensorRT, OpenVINO and others."""
    output: Path
    """The file; its folder is made if missing."""
    input_size: tuple[int, int] | None = None
    """Height and width of the network input in px, multiples of 32. By default the size stored with the weights, else
    the one at which their variant was published."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the network computes in. bfloat16 for stablehlo alone."""
    batch: int | None = None
    """Images a call; not given: any number."""
    nms: bool = True
    """Non-maximum suppression inside. Without it the file gives the predictions of all anchors, as TensorRT, OpenVINO
    or ncnn want it."""
    score_threshold: float = 0.25
    """Detections below this score are left out."""
    iou_threshold: float = 0.45
    """Of two boxes that overlap more than this, the better is kept."""
    class_agnostic: bool = False
    """Let boxes of different classes suppress each other."""
    max_detections: int = 1000
    """Most detections an image; the outputs are padded to this many."""
    platforms: tuple[Literal["cpu", "cuda", "tpu"], ...] | None = None
    """stablehlo: what the file can run on; not given: all three."""
    opset: int | None = None
    """onnx: version of its operators, 13 or newer; an older one is read by older runtimes. Not given: 17."""
    runner: bool = False
    """onnx: copy onnx_runner.py beside it, which runs it with numpy, OpenCV and onnxruntime alone."""


def main(argv: list[str]) -> None:
    """Exports; `argv` is the command line after `export`."""
    arguments = tyro.cli(ExportArguments, args=argv, prog="yolox-jax export")
    _check(arguments)
    ensure_writable_folder(arguments.output.parent, "the folder of --output,")
    # Here, so that the help and wrong flags are answered before jax is loaded.
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.export.settings import ExportSettings
    from yolox_jax.inference.options import resolve_class_names, resolve_input_size
    from yolox_jax.weights import read_model

    model, metadata = read_model(fetch_if_published(arguments.weights))
    settings = ExportSettings(
        class_names=resolve_class_names(None, metadata, model.num_classes),
        input_size=resolve_input_size(arguments.input_size, metadata, model.variant),
        precision=arguments.precision,
        batch=arguments.batch,
        nms=arguments.nms,
        score_threshold=arguments.score_threshold,
        iou_threshold=arguments.iou_threshold,
        class_agnostic=arguments.class_agnostic,
        max_detections=arguments.max_detections,
    )
    if arguments.format == "stablehlo":
        from yolox_jax.export.stablehlo import PLATFORMS, export_stablehlo

        platforms = PLATFORMS if arguments.platforms is None else arguments.platforms
        export_stablehlo(model, arguments.output, settings, platforms=platforms)
    else:
        from yolox_jax.export.onnx import OPSET, export_onnx

        export_onnx(model, arguments.output, settings, opset=OPSET if arguments.opset is None else arguments.opset)
        if arguments.runner:
            print(f"wrote {shutil.copy(RUNNER, arguments.output.parent)}")
    height, width = settings.input_size
    print(
        f"wrote {arguments.output}: {model.variant}, {model.num_classes} classes, {height}x{width} px, "
        f"{settings.precision}, batch {settings.batch or 'any'}, {arguments.output.stat().st_size / 2**20:.1f} MiB; "
        "docs/export.md says how to run it"
    )


def _check(arguments: ExportArguments) -> None:
    """What can be refused before jax is loaded."""
    suffix = SUFFIXES[arguments.format]
    if arguments.output.suffix != suffix:
        raise ConfigError(f"--output {arguments.output}: a file of {arguments.format} has a name that ends in {suffix}")
    if arguments.output.is_dir():
        raise ConfigError(f"--output {arguments.output} is a folder: give the name of a file")
    for flag, value, of in (
        ("--platforms", arguments.platforms, "stablehlo"),
        ("--opset", arguments.opset, "onnx"),
        ("--runner", arguments.runner or None, "onnx"),
    ):
        if value is not None and arguments.format != of:
            raise ConfigError(f"{flag} is for --format {of} alone: leave it out")
    beside = arguments.output.with_name(RUNNER.name)
    if arguments.runner and beside.exists() and beside.read_bytes() != RUNNER.read_bytes():
        raise ConfigError(f"{beside} is there already, and is another one: remove it first, or leave out --runner")
