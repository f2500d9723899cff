"""Exports a network to ONNX, from the uint8 image batch to boxes, scores, classes and their count.

The graph is built from the weights, not traced: in NCHW, and of nodes that runtimes have fast kernels for. The file and
its metadata contain all that `yolox_jax/export/onnx_runner.py`, or any other program, needs.
"""

from pathlib import Path

import numpy as np

from yolox_jax.config import SCALE_OF_16_BITS, ConfigError
from yolox_jax.config.inference_checks import check_precision

try:
    import onnx
except ModuleNotFoundError as error:
    raise ConfigError("export to ONNX needs the package onnx: pip install 'yolox-jax[onnx]'") from error

from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.export.onnx_graph import Graph, Value
from yolox_jax.export.onnx_network import write_network
from yolox_jax.export.onnx_output import write_best_detections, write_detections, write_predictions
from yolox_jax.export.onnx_raw import write_raw
from yolox_jax.export.settings import ExportSettings
from yolox_jax.files import atomic_write, package_version
from yolox_jax.models import YOLOX, fold_batch_norm

OPSET = 17
"""Supported by ONNX Runtime 1.12 (2022), TensorRT 8.6, OpenVINO 2022.3 and later."""
LOWEST_OPSET = 13
"""The first in which axes are inputs, which the graph relies on."""


def export_onnx(model: YOLOX, path: str | Path, settings: ExportSettings, *, opset: int = OPSET) -> Path:
    """Write an ONNX file of a model in evaluation mode, and check it with the onnx checker, including shapes.

    Inputs of the file, for N images:
        images: uint8 [N, H, W, 3], BGR, letterboxed: scaled by one ratio to fit into the input size, at the top left,
            the rest filled with 114 (`yolox_jax.data.letterbox`). Networks for other images take as many channels as
            they were trained with, and uint16, with a padding of 29298, if the images had 16 bits.
        ratios: float32 [N], the ratio of each image. Not with `nms=False`.

    Outputs, best first and padded to K = `max_detections`, as `yolox_jax.structures.Detections`:
        boxes: float32 [N, K, 4], x1, y1, x2, y2 in pixels of the original images (those of the input divided by the
            ratio), not clipped to them; zeros where there is no detection.
        scores: float32 [N, K], objectness times class probability; 0 where there is none.
        classes: int32 [N, K]; -1 where there is none.
        count: int32 [N], the number of detections.

    The detections of an end-to-end network are its best predictions: the graph contains no suppression, sort or loop.

    Output with `nms=False`, for runtimes that lack it or have their own:
        predictions: float32 [N, A, 5 + C] as `yolox_jax.postprocess.decode` returns it: centre x, centre y, width and
            height in pixels of the input, not divided by the ratio, then objectness and class probabilities.

    The metadata of the file, as text or JSON: `output` ("detections" or "predictions"), `variant`, `class_names`,
    `input_size` (height, width), `layout`, `channels`, `bits`, `colour_order`, `padding`, `score_threshold`,
    `iou_threshold`, `class_agnostic`, `max_detections`, `precision` and `producer`. The `iou_threshold` of an
    end-to-end network is 1, with which nothing is suppressed.

    Args:
        model: is not changed.
        path: the file to write; its folder is created if needed. An existing file is replaced once the new one is
            complete.
        settings: shapes, precision and suppression. In float16 the file is half as large; inputs, outputs and decoding
            do not change.
        opset: version of the ONNX operators, at least 13. Older runtimes support only older versions.

    Returns:
        `path`.

    Raises:
        ConfigError: a setting is invalid, or weights are too large for float16.
    """
    check_precision(settings.precision)  # int8 is for `export_quantized`
    return save_onnx(build_onnx(model, settings, opset=opset), Path(path))


def build_onnx(model: YOLOX, settings: ExportSettings, *, opset: int = OPSET) -> onnx.ModelProto:
    """Return what `export_onnx` writes, as yet unchecked; with the precision int8 in float32, to be quantised.

    Raises:
        ConfigError: as `export_onnx`.
    """
    settings.check(model)
    _check_opset(opset)
    precision = settings.float_precision
    images_axis: int | str = "batch" if settings.batch is None else settings.batch
    input_size = settings.input_size
    graph = Graph(precision, opset)
    pixels = settings.pixels(model)
    inputs = [Value("images", f"uint{pixels.bits}", (images_axis, *input_size, pixels.channels))]
    # Transpose after the cast: TensorRT can do nothing else with uint8.
    values = _to_float(graph, "images", pixels, precision)
    channels_first = graph.add("Transpose", [values], "images/channels_first", perm=[0, 3, 1, 2])
    levels = write_network(graph, fold_batch_norm(model), channels_first)
    raw = write_raw(
        graph,
        levels,
        input_size,
        model.num_classes,
        strides=model.strides,
        anchor_boxes=model.anchor_boxes,
        end_to_end=model.end_to_end,
    )
    if settings.detections:
        inputs.append(Value("ratios", "float32", (images_axis,)))
        write = write_best_detections if model.end_to_end else write_detections
        outputs = write(graph, raw, "ratios", images_axis, settings.suppression)
    else:
        outputs = write_predictions(graph, raw, images_axis)
    return graph.model(inputs, outputs, version=package_version(), metadata=settings.metadata(model))


def _to_float(graph: Graph, images: str, pixels: PixelFormat, precision: str) -> str:
    """Convert pixels to the precision of the graph, from 0 to 255, as `yolox_jax.models.pixels.to_float`."""
    if pixels.bits == 8:
        return graph.cast(images, precision, "images/pixels")
    # In float32, because float16 ends at 65504.
    wide = graph.cast(images, "float32", "images/16_bits")
    scale = graph.constant("images/scale", np.array(SCALE_OF_16_BITS, np.float32))
    return graph.cast(graph.add("Div", [wide, scale], "images/scaled"), precision, "images/pixels")


def _check_opset(opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= newest:
        raise ConfigError(
            f"--opset must be from {LOWEST_OPSET} to {newest}, the newest of onnx {onnx.__version__}; got {opset}"
        )


def save_onnx(model: onnx.ModelProto, path: Path) -> Path:
    """Write a file, and return its path; one that the checker refuses does not replace the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        onnx.save_model(model, temporary)
        onnx.checker.check_model(temporary, full_check=True)
    return path
