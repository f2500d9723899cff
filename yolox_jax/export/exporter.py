"""Exports weights as one file, in the format that the suffix of the file names."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_counts, check_precision, check_thresholds
from yolox_jax.files import ensure_writable_folder

if TYPE_CHECKING:
    from yolox_jax.export.settings import ExportSettings
    from yolox_jax.weights.download import OnProgress

Format = Literal["stablehlo", "onnx"]
"""The formats, and the suffixes of their files."""
RUNNERS = {format: Path(__file__).with_name(f"{format}_runner.py") for format in get_args(Format)}
"""Programs that run the files, made to be copied."""


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """What `export` wrote."""

    path: Path
    """The file."""
    runner: Path | None
    """The copy of the program that runs it next to it, if there is one."""
    variant: str
    """Variant of the network, such as `yolox_s`."""
    settings: "ExportSettings"
    """Class names, input size, precision and thresholds, as stored in the file."""


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
    on_progress: "OnProgress | None" = None,
) -> ExportedFile:
    """Export weights as one file, from a batch of images to detections, that runs without this package.

    The inputs and outputs of the file are described by `yolox_jax.export.onnx.export_onnx` and
    `yolox_jax.export.stablehlo.export_stablehlo`.

    >>> yolox_jax.export("runs/x", "x.onnx")  # doctest: +SKIP

    Args:
        weights: .pth, .safetensors, .npz, a run directory, or the name of published weights, such as `yolox_s`.
        path: the file to write, ending in .onnx or .stablehlo. Its folder is created if needed.
        format: "stablehlo" for jax, or "onnx" for ONNX Runtime, TensorRT, OpenVINO and others. By default the suffix of
            `path`.
        input_size: height and width of the network input in px, multiples of 32. By default the size stored with the
            weights, or else the published size of their variant.
        precision: what the network computes in: float32, float16, or bfloat16 (StableHLO only). Boxes and scores are
            float32.
        batch: images per call; None for any number.
        nms: by default, the file returns detections, with non-maximum suppression unless the network is end-to-end and
            works without. True insists on suppression. With False, the file returns the predictions of all anchors.
        score_threshold: detections below this score are dropped.
        iou_threshold: of two boxes that overlap more than this, the better one is kept.
        class_agnostic: let boxes of different classes suppress each other.
        max_detections: most detections per image; the outputs are padded to this number.
        platforms: StableHLO only: the platforms that the file can run on. By default cpu, cuda and tpu.
        opset: ONNX only: version of the operators, at least 13. By default 17.
        runner: copy `onnx_runner.py` or `stablehlo_runner.py` next to the file. It runs the file with NumPy, OpenCV and
            onnxruntime or jax.
        on_progress: called while published weights are downloaded, see `yolox_jax.weights.download.OnProgress`.

    Returns:
        The path of the file, and what it contains.

    Raises:
        ConfigError: an option is invalid or does not apply to the format, the folder cannot be written to, or a package
            is missing.
        FileNotFoundError, WeightsError: the weights cannot be read.
    """
    path = Path(path)
    format = _check(path, format, platforms=platforms, opset=opset, runner=runner)
    check_precision(precision)
    check_thresholds(score_threshold, iou_threshold)
    check_counts(1 if batch is None else batch, max_detections)
    ensure_writable_folder(path.parent, "the folder of --output,")
    # Imported here, so that the checks above do not wait for jax, and that each format needs only its own packages.
    from yolox_jax.export.settings import ExportSettings
    from yolox_jax.inference.options import resolve_class_names, resolve_input_size, resolve_pixels
    from yolox_jax.weights import read_model

    model, metadata = read_model(weights, on_progress=on_progress)
    settings = ExportSettings(
        class_names=resolve_class_names(None, metadata, model.num_classes),
        input_size=resolve_input_size(input_size, metadata, model),
        bits=resolve_pixels(None, metadata, model.channels).bits,
        precision=precision,
        batch=batch,
        nms=nms,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )
    if format == "stablehlo":
        from yolox_jax.export.stablehlo import PLATFORMS, export_stablehlo

        export_stablehlo(model, path, settings, platforms=PLATFORMS if platforms is None else platforms)
    else:
        from yolox_jax.export.onnx import OPSET, export_onnx

        export_onnx(model, path, settings, opset=OPSET if opset is None else opset)
    copy = Path(shutil.copy(RUNNERS[format], path.parent)) if runner else None
    return ExportedFile(path, copy, model.variant, settings)


def _check(
    path: Path, format: Format | None, *, platforms: Sequence[str] | None, opset: int | None, runner: bool
) -> Format:
    """Check what needs neither jax nor the weights, and return the format."""
    formats: tuple[Format, ...] = get_args(Format)
    if format not in (None, *formats):
        raise ConfigError(f"--format must be {' or '.join(formats)}; got {format!r}")
    if path.suffix not in [f".{name}" for name in ([format] if format else formats)]:
        suffixes = f".{format} for --format {format}" if format else " or ".join(f".{name}" for name in formats)
        raise ConfigError(f"--output must be a file name that ends in {suffixes}; got {path}")
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder; pass a file name")
    file_format = next(name for name in formats if path.suffix == f".{name}")
    for option, is_set, owner in (
        ("platforms", platforms is not None, "stablehlo"),
        ("opset", opset is not None, "onnx"),
    ):
        if is_set and file_format != owner:
            raise ConfigError(f"--{option} applies only to --format {owner}; leave it out")
    program = RUNNERS[file_format]
    copy = path.with_name(program.name)
    if runner and copy.exists() and copy.read_bytes() != program.read_bytes():
        raise ConfigError(f"{copy} already exists and differs. Remove it, or leave out --runner")
    return file_format
