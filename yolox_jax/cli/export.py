"""`yolox-jax export`: writes a network as one file that runs without this package."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any, Literal

from yolox_jax.cli.parsing import parse
from yolox_jax.cli.progress import show_download, show_progress
from yolox_jax.cli.published import WeightsPath
from yolox_jax.cli.verification import ImagesToCompare, verify
from yolox_jax.config import ConfigError
from yolox_jax.export import ExportedFile, export
from yolox_jax.export.exporter import Format
from yolox_jax.export.quantization import Quantization
from yolox_jax.text import counted


@dataclasses.dataclass(frozen=True)
class ExportArguments:
    """What to export, and in which format."""

    weights: WeightsPath
    """A .pth, .safetensors or .npz file, a run directory, or the name of published weights, such as yolox_s."""
    format: Literal["stablehlo", "onnx", "litert", "ncnn", "coreml", "triton", "web"]
    """stablehlo: for jax on CPUs, GPUs and TPUs. onnx: for ONNX Runtime, TensorRT, OpenVINO and others. litert: for
    LiteRT (TFLite) on phones and boards. ncnn: for ncnn, there too. coreml: for Apple's devices, as yet never run.
    triton: a model for NVIDIA's Triton Inference Server. web: a folder with a page that detects in the browser."""
    output: Path
    """Output file, .stablehlo, .onnx, .tflite or .param, or a folder: .mlpackage, that of the page, or of the model of
    Triton, which gets its name. Folders are created if they do not exist."""
    input_size: tuple[int, int] | None = None
    """Height and width of the network input in px, multiples of 32. By default, the size stored with the weights, or
    else the published size of their variant."""
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    """Compute dtype of the network. bfloat16 is only for stablehlo, int8 only for onnx, with --calibrate."""
    batch: int | None = None
    """Batch size. By default, the file accepts any number of images. triton: the largest one, 8 by default."""
    nms: bool | None = None
    """Non-maximum suppression in the file. By default, the file outputs detections, with suppression unless the network
    is end-to-end and works without. With --no-nms, it outputs the predictions of all anchors, as expected by TensorRT
    and OpenVINO. Files for LiteRT, ncnn and Core ML always do."""
    score_threshold: float = 0.25
    """Minimum score of a detection."""
    iou_threshold: float = 0.45
    """IoU threshold of non-maximum suppression."""
    class_agnostic: bool = False
    """Also suppress overlapping boxes of different classes."""
    max_detections: int = 1000
    """Maximum number of detections per image; the outputs are padded to it."""
    platforms: tuple[Literal["cpu", "cuda", "tpu"], ...] | None = None
    """stablehlo: the platforms that the file can run on. All three by default."""
    opset: int | None = None
    """onnx: version of the operator set, 13 or later. Older runtimes need a lower version. 17 by default."""
    runner: bool = False
    """Also write onnx_runner.py, or that of the format, which runs the file with only numpy, OpenCV and onnxruntime,
    jax, ai-edge-litert or ncnn, and yolox_detection.py, which it imports."""
    onnxruntime_web: Path | None = None
    """web: folder of the npm package onnxruntime-web, for machines without network. By default, the package is
    downloaded once to the user's cache (33 MB)."""
    calibrate: Path | None = None
    """int8: images such as the network will see, from which the ranges of activations are measured: a dataset, whose
    training split is used, a folder of images, or a pattern such as 'photos/*.jpg'."""
    calibration_images: int | None = None
    """int8: how many of them to use, spread evenly. 100 by default."""
    calibration_method: Literal["percentile", "entropy", "minmax"] | None = None
    """int8: the range of an activation. percentile (default): without its most extreme values. entropy: the one that
    loses least information. minmax: all values."""
    calibration_percentile: float | None = None
    """int8: per cent of the values that are not above the range of the method percentile; as many are not below it.
    99.99 by default."""
    float_layers: tuple[str, ...] | None = None
    """int8: layers that stay in float, by name or beginning of the name, such as backbone.backbone.stem. By default,
    stem and first stage, the last layers of the head and `decode`, the decoding of boxes; none if no name follows."""
    quantize_for: Literal["onnxruntime", "openvino"] | None = None
    """int8: the runtime that the file is fast in; both can run it. onnxruntime (default): all layers compute in 8 bits.
    openvino: only convolutions do."""
    verify: Path | None = None
    """Then compare the detections of the file with those of the weights on these images, as `yolox-jax verify` does: a
    dataset, or a folder of images. The exit code is 1 if they differ."""


_QUANTIZATION = {
    "calibrate": "calibrate",
    "calibration_images": "num_images",
    "calibration_method": "method",
    "calibration_percentile": "percentile",
    "float_layers": "float_layers",
    "quantize_for": "runtime",
}
"""Flags of the quantisation, and their fields in `Quantization`."""


def main(argv: list[str]) -> int:
    """Exports; `argv` is the command line after `export`. Returns 1 if the file differs from its weights."""
    arguments = parse(
        ExportArguments,
        argv,
        prog="yolox-jax export",
        description="Export a network as one file, from a batch of uint8 images to detections, that runs without this "
        "package.",
        flag_pairs=True,
    )
    options = dataclasses.asdict(arguments)
    options.pop("verify")
    if arguments.format == "coreml" and arguments.verify is not None:
        raise ConfigError("--verify runs the file, and those for Core ML run on macOS only. Leave it out")
    # Before anything is exported: there may be none.
    images = None if arguments.verify is None else ImagesToCompare.at(arguments.verify, flag="--verify")
    quantization = _quantization({name: options.pop(name) for name in _QUANTIZATION}, arguments.precision)
    with show_download() as on_progress, show_progress("readings of calibration images") as on_calibration:
        exported = export(
            options.pop("weights"),
            options.pop("output"),
            **options,
            quantization=quantization,
            on_progress=on_progress,
            on_calibration=on_calibration,
        )
    if exported.runner is not None:
        print(f"wrote {exported.runner}, and yolox_detection.py for it")
    settings = exported.settings
    height, width = settings.input_size
    print(
        f"wrote {exported.path}: {exported.variant}, {counted(len(settings.class_names), 'class')}, input "
        f"{height}x{width} (height x width), {settings.precision}, {_batch(exported, arguments)}, "
        f"{exported.size / 2**20:.1f} MiB"
    )
    print(_how_to_run(exported, arguments.format))
    return 0 if images is None else verify(exported.network, arguments.weights, images)


def _quantization(flags: dict[str, Any], precision: str) -> Quantization | None:
    """The settings of int8; None for other precisions, and without --calibrate, which `export` then asks for.

    Raises:
        ConfigError: A flag of int8 was given with another precision.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if precision != "int8" and given:
        flag = f"--{next(iter(given)).replace('_', '-')}"
        raise ConfigError(f"{flag} applies only to --precision int8; add that, or leave {flag} out")
    if "calibration_percentile" in given and given.get("calibration_method", "percentile") != "percentile":
        raise ConfigError(
            "--calibration-percentile applies only to --calibration-method percentile; leave one of them out"
        )
    return (
        Quantization(**{_QUANTIZATION[name]: value for name, value in given.items()}) if "calibrate" in given else None
    )


def _batch(exported: ExportedFile, arguments: ExportArguments) -> str:
    if arguments.format == "triton":
        from yolox_jax.export.triton import MAX_BATCH_SIZE

        return f"batches of up to {arguments.batch or MAX_BATCH_SIZE}"
    return f"batch size {exported.settings.batch}" if exported.settings.batch else "any batch size"


def _how_to_run(exported: ExportedFile, format: Format) -> str:
    if format == "web":
        serve = shlex.join(["python", "-m", "http.server", "--directory", str(exported.path), "8000"])
        return f"Show it: {serve}, then open http://localhost:8000 in a browser"
    if format == "stablehlo" and exported.runner is None:
        load = f"jax.export.deserialize(bytearray(zipfile.ZipFile({str(exported.path)!r}).read('detect.bin'))).call"
        return f"In Python: {load} is a function of {'images and ratios' if exported.settings.detections else 'images'}"
    if format == "triton":
        serve = shlex.join(["tritonserver", "--model-repository", str(exported.path.absolute().parent)])
        url = f"http://localhost:8000/v2/models/{exported.path.absolute().name}"
        return f"Serve it: {serve}\nAsk it: python {exported.runner or 'triton_runner.py'} {url} photo.jpg"
    if format == "coreml":
        return "Add it to a project of Xcode. It is an ML program for iOS 16, macOS 13 and later"
    if exported.runner is None:
        return "Add --runner to write a script that runs it"
    words = ["python", exported.runner, exported.path, "photo.jpg", "--output", "drawn.jpg"]
    return f"Run it: {shlex.join(map(str, words))}"
