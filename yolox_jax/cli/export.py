"""`yolox-jax export`: writes a network as one file that runs without this package."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from yolox_jax.cli.progress import show_download
from yolox_jax.export import export


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
    """Run the export; `argv` is the command line after `export`."""
    arguments = tyro.cli(ExportArguments, args=argv, prog="yolox-jax export")
    options = dataclasses.asdict(arguments)
    with show_download() as on_progress:
        exported = export(options.pop("weights"), options.pop("output"), **options, on_progress=on_progress)
    if exported.runner is not None:
        print(f"wrote {exported.runner}")
    settings = exported.settings
    height, width = settings.input_size
    print(
        f"wrote {exported.path}: {exported.variant}, {len(settings.class_names)} classes, {height}x{width} px, "
        f"{settings.precision}, batch {settings.batch or 'any'}, {exported.path.stat().st_size / 2**20:.1f} MiB; "
        "see docs/export.md for how to run it"
    )
