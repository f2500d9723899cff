"""Exports weights as one file, in the format that the suffix of the file names, or as a folder with a web page."""

import dataclasses
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_counts, check_precision, check_thresholds
from yolox_jax.export.quantization import Quantization, check_quantization
from yolox_jax.files import check_writable_folder, ensure_writable_folder

if TYPE_CHECKING:
    from yolox_jax.export.settings import ExportSettings
    from yolox_jax.models import YOLOX
    from yolox_jax.weights.download import OnProgress

Writer = Callable[["YOLOX", Path, "ExportSettings"], Path]
"""Writes a model to a path and returns the file with the network."""
Format = Literal["stablehlo", "onnx", "litert", "ncnn", "coreml", "triton", "web"]
"""All formats."""
SUFFIXES: dict[Format, str] = {"stablehlo": ".stablehlo", "onnx": ".onnx", "litert": ".tflite", "ncnn": ".param"}
"""Of the formats that are files."""
FOLDERS: dict[Format, str] = {"coreml": "Manifest.json", "triton": "config.pbtxt", "web": "network.json"}
"""Of the formats that are folders, a file by which an earlier export is known."""
RAW: tuple[Format, ...] = ("litert", "ncnn", "coreml")
"""Of these, files take one image and return the predictions of all anchors: suppression is left to what runs them."""
RUNNERS = {
    format: (Path(__file__).with_name(f"{format}_runner.py"), Path(__file__).with_name("yolox_detection.py"))
    for format in (*SUFFIXES, "triton")
}
"""Programs that run the files or ask the server, each with the module that it shares with the others. They are made to
be copied."""
APPLIES_TO: dict[str, tuple[Format, ...]] = {
    "platforms": ("stablehlo",),
    "opset": ("onnx",),
    "batch": ("stablehlo", "onnx", "triton"),
    "runner": ("stablehlo", "onnx", "litert", "ncnn", "triton"),
    "onnxruntime_web": ("web",),
}
"""The options that not all formats have."""


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """What `export` wrote."""

    path: Path
    """The file, or the folder of a web page or of a model of Triton."""
    network: Path
    """The file with the network: `path`, or the ONNX file in the folder."""
    runner: Path | None
    """The copy of the program that runs it next to it, if there is one."""
    variant: str
    """Variant of the network, such as `yolox_s`."""
    settings: "ExportSettings"
    """Class names, input size, precision and thresholds, as stored in the file."""

    @property
    def size(self) -> int:
        """Bytes of the network; ncnn has its weights in a file of their own, Core ML in a folder."""
        files = [self.network, *self.network.rglob("*")] if self.network.is_dir() else [self.network]
        if self.network.suffix == ".param":
            files.append(self.network.with_suffix(".bin"))
        return sum(file.stat().st_size for file in files if file.is_file())


def export(
    weights: str | Path,
    path: str | Path,
    *,
    format: Format | None = None,
    input_size: tuple[int, int] | None = None,
    precision: str = "float32",
    batch: int | None = None,
    nms: bool | None = None,
    score_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    class_agnostic: bool = False,
    max_detections: int = 1000,
    platforms: Sequence[str] | None = None,
    opset: int | None = None,
    runner: bool = False,
    onnxruntime_web: str | Path | None = None,
    quantization: Quantization | None = None,
    on_progress: "OnProgress | None" = None,
    on_calibration: Callable[[int, int], None] | None = None,
) -> ExportedFile:
    """Export weights as one file, from a batch of images to detections, that runs without this package.

    The inputs and outputs of the file are described by `yolox_jax.export.onnx.export_onnx`,
    `yolox_jax.export.stablehlo.export_stablehlo` and `yolox_jax.export.ncnn.export_ncnn`. The format "web" adds a page
    that detects in the browser, see `yolox_jax.export.web.export_web`.

    >>> yolox_jax.export("runs/x", "x.onnx")  # doctest: +SKIP
    >>> yolox_jax.export("runs/x", "page", format="web")  # doctest: +SKIP

    Args:
        weights: .pth, .safetensors, .npz, a run directory, or the name of published weights, such as `yolox_s`.
        path: the file to write, ending in .onnx, .stablehlo, .tflite or .param, or the folder of a web page, or of a
            model of Triton, which gets its name. Folders are created if needed.
        format: "stablehlo" for jax, "onnx" for ONNX Runtime, TensorRT, OpenVINO and others, "litert" for LiteRT
            (TFLite) on phones and boards, "ncnn" for ncnn, there too, "coreml" for Apple's devices (an .mlpackage
            folder), "triton" for NVIDIA's server, or "web" for browsers. By default that of the suffix of `path`.
        input_size: height and width of the network input in px, multiples of 32. By default the size stored with the
            weights, or else the published size of their variant.
        precision: what the network computes in: float32, float16, bfloat16 (StableHLO only), or int8 (ONNX only, with
            `quantization`). Boxes and scores are float32.
        batch: images per call; None for any number. Not for "litert", "ncnn", "coreml" and "web", which take one image
            at a time. For "triton", most images that the server computes at once, by default 8.
        nms: by default, the file returns detections, with non-maximum suppression unless the network is end-to-end and
            works without. True insists on suppression. With False, the file returns the predictions of all anchors, as
            files for LiteRT, ncnn and Core ML always do.
        score_threshold: detections below this score are dropped.
        iou_threshold: of two boxes that overlap more than this, the better one is kept.
        class_agnostic: let boxes of different classes suppress each other.
        max_detections: most detections per image; the outputs are padded to this number.
        platforms: StableHLO only: the platforms that the file can run on. By default cpu, cuda and tpu.
        opset: ONNX only: version of the operators, at least 13. By default 17.
        runner: copy `onnx_runner.py`, or that of the format, next to the file, and `yolox_detection.py`, which it
            imports. It runs the file with NumPy, OpenCV and onnxruntime, jax, ai-edge-litert or ncnn.
        onnxruntime_web: web only: folder of the npm package onnxruntime-web. By default it is downloaded once to the
            user's cache, see `yolox_jax.export.onnxruntime_web`.
        quantization: int8 only: the calibration images, what is quantised, and how.
        on_progress: called while published weights or onnxruntime-web are downloaded, see
            `yolox_jax.weights.download.OnProgress`.
        on_calibration: called with the number of calibration images read, and of those to read; each is read twice.

    Returns:
        The path of the file, and what it contains.

    Raises:
        ConfigError: an option is invalid or does not apply to the format, the folder cannot be written to, or a package
            is missing.
        FileNotFoundError, WeightsError: the weights cannot be read.
    """
    path = Path(path)
    format = _resolve_format(path, format)
    options = {"platforms": platforms, "opset": opset, "batch": batch, "runner": runner or None}
    _check_options(format, {**options, "onnxruntime_web": onnxruntime_web})
    _check_output(path, format, runner=runner, nms=nms)
    check_quantization(precision, format, quantization)
    if quantization is None:
        _check_float_precision(precision, format)
    check_thresholds(score_threshold, iou_threshold)
    check_counts(1 if batch is None else batch, max_detections)
    if format in FOLDERS:
        check_writable_folder(path, "--output")
    else:
        ensure_writable_folder(path.parent, "the folder of --output,")
    # Imported here, so that the checks above do not wait for jax.
    from yolox_jax.export.settings import ExportSettings
    from yolox_jax.inference.options import resolve_class_names, resolve_input_size, resolve_pixels
    from yolox_jax.weights import read_model

    if quantization is not None:
        write = _quantized_writer(quantization, opset, on_calibration)
    else:
        write = _writer(format, platforms, opset, batch, onnxruntime_web, on_progress)
    model, metadata = read_model(weights, on_progress=on_progress)
    settings = ExportSettings(
        class_names=resolve_class_names(None, metadata, model.num_classes),
        input_size=resolve_input_size(input_size, metadata, model),
        bits=resolve_pixels(None, metadata, model.channels).bits,
        precision=precision,
        batch=1 if format in (*RAW, "web") else None if format == "triton" else batch,
        nms=False if format in RAW else nms,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )
    file = write(model, path, settings)
    copies = [Path(shutil.copy(program, path.parent)) for program in RUNNERS[format]] if runner else [None]
    return ExportedFile(path, file, copies[0], model.variant, settings)


def _writer(
    format: Format,
    platforms: Sequence[str] | None,
    opset: int | None,
    batch: int | None,
    onnxruntime_web: str | Path | None,
    on_progress: "OnProgress | None",
) -> Writer:
    """Return what writes the format. It is imported before weights are read, because a package may be missing."""
    match format:
        case "stablehlo":
            from yolox_jax.export.stablehlo import PLATFORMS, export_stablehlo

            return functools.partial(export_stablehlo, platforms=PLATFORMS if platforms is None else platforms)
        case "onnx":
            from yolox_jax.export.onnx import OPSET, export_onnx

            return functools.partial(export_onnx, opset=OPSET if opset is None else opset)
        case "litert":
            from yolox_jax.export.litert import export_litert

            return export_litert
        case "ncnn":
            from yolox_jax.export.ncnn import export_ncnn

            return export_ncnn
        case "coreml":
            from yolox_jax.export.coreml import export_coreml

            return export_coreml
        case "triton":
            from yolox_jax.export.triton import MAX_BATCH_SIZE, export_triton

            return functools.partial(export_triton, max_batch_size=MAX_BATCH_SIZE if batch is None else batch)
        case "web":
            from yolox_jax.export.onnxruntime_web import find_runtime
            from yolox_jax.export.web import export_web

            runtime = find_runtime(None if onnxruntime_web is None else Path(onnxruntime_web), on_progress=on_progress)
            return functools.partial(export_web, runtime=runtime)


def _quantized_writer(
    quantization: Quantization, opset: int | None, on_calibration: Callable[[int, int], None] | None
) -> Writer:
    """Return what writes an ONNX file in int8, once the calibration images are found."""
    from yolox_jax.export.calibration_images import CalibrationImages
    from yolox_jax.export.onnx import OPSET
    from yolox_jax.export.onnx_quantization import export_quantized

    calibration = CalibrationImages(quantization)

    def write(model: "YOLOX", path: Path, settings: "ExportSettings") -> Path:
        images = calibration.reader(settings.pixels(model), settings.input_size, on_calibration)
        return export_quantized(model, path, settings, quantization, images, opset=OPSET if opset is None else opset)

    return write


def _resolve_format(path: Path, format: Format | None) -> Format:
    """Return the format that is asked for, or else that of the suffix."""
    formats: tuple[Format, ...] = get_args(Format)
    if format not in (None, *formats):
        raise ConfigError(f"--format must be one of {', '.join(formats)}; got {format!r}")
    if format in FOLDERS:
        return format
    suffixes = {suffix: name for name, suffix in SUFFIXES.items() if format in (None, name)}
    if path.suffix not in suffixes:
        which = f"{' or '.join(suffixes)}{f' for --format {format}' if format else ''}"
        raise ConfigError(f"--output must be a file name that ends in {which}; got {path}")
    return suffixes[path.suffix]


def _check_options(format: Format, options: dict[str, object]) -> None:
    for option, value in options.items():
        if value is not None and format not in APPLIES_TO[option]:
            flag, owners = option.replace("_", "-"), " or ".join(APPLIES_TO[option])
            raise ConfigError(f"--{flag} applies only to --format {owners}; leave it out")


def _check_float_precision(precision: str, format: Format) -> None:
    check_precision(precision)
    if precision == "bfloat16" and format != "stablehlo":  # of the others, hardly any runtime computes in it
        raise ConfigError(f"--precision bfloat16 needs --format stablehlo; --format {format} has float32 and float16")


def _check_output(path: Path, format: Format, *, runner: bool, nms: bool | None) -> None:
    """Raise ConfigError if the file or folder cannot be written, or would replace something else."""
    if format == "web" and nms is False:
        raise ConfigError("--no-nms does not apply to --format web, whose page shows detections; leave it out")
    if format in RAW and nms:
        raise ConfigError(
            f"--nms does not apply to --format {format}: the file returns the predictions of all anchors, which the "
            "program that runs it suppresses. Leave it out"
        )
    if format == "coreml" and path.suffix != ".mlpackage":
        raise ConfigError(f"--output must be a name that ends in .mlpackage for --format coreml; got {path}")
    if format in SUFFIXES and path.is_dir():
        raise ConfigError(f"--output {path} is a folder; pass a file name")
    for beside in (path.with_suffix(".bin"), path.with_suffix(".json")) if format == "ncnn" else ():
        if beside.exists() and not path.exists():
            raise ConfigError(f"--format ncnn also writes {beside}, which exists. Pass another name as --output")
    if format in FOLDERS and path.is_dir() and any(path.iterdir()) and not (path / FOLDERS[format]).is_file():
        raise ConfigError(f"--output {path} is not empty. Pass a new folder, or that of an earlier --format {format}")
    for program in RUNNERS[format] if runner else ():
        copy = path.with_name(program.name)
        if copy.exists() and copy.read_bytes() != program.read_bytes():
            raise ConfigError(f"{copy} already exists and differs. Remove it, or leave out --runner")
