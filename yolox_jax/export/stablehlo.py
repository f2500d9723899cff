"""Exports a detector to StableHLO, which jax runs without this package on the platforms it was exported for."""

import importlib.util
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_precision
from yolox_jax.export.settings import ExportSettings
from yolox_jax.files import atomic_write
from yolox_jax.inference.detect import Thresholds, detect, prepare_for_inference
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.pixels import to_float
from yolox_jax.models.yolox import YOLOX
from yolox_jax.postprocess import decode

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM = "detect.bin"
"""File in the archive for `jax.export.deserialize`."""
METADATA = "metadata.json"
_OPTIONS = ForwardOptions(convolution="portable")


def export_stablehlo(
    model: YOLOX,
    path: str | Path,
    settings: ExportSettings,
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> Path:
    """Write one file with the function from images to detections, its weights and its metadata.

    The file is a zip archive of `detect.bin` and `metadata.json`. Running it needs only jax, NumPy and flatbuffers:

        with zipfile.ZipFile("yolox.stablehlo") as file:
            detect = jax.export.deserialize(bytearray(file.read("detect.bin"))).call
        detections = detect(images, ratios)

    `images` are uint8 [B, H, W, 3], BGR, letterboxed: scaled by a ratio to fit the input size, at the top left of a
    canvas of grey value 114. Networks for other images take as many `channels`, and uint16 with a padding of 29298, if
    the metadata say so. `ratios` are these factors, float32 [B]. Boxes are divided by them, so that they are in px of
    the original images. `detections` is a dict of `boxes` [B, K, 4] (x1, y1, x2, y2), `scores` [B, K], `classes` int32
    [B, K] (-1 after the last) and `count` int32 [B], best first. With `nms=False`, the function takes only images and
    returns `predictions` [B, A, 5 + C]: centre x, centre y, width, height in pixels of the input, objectness and
    classes.

    The detections of an end-to-end network are its best predictions: the program contains no suppression and no loop.
    It selects them with the composite operation `chlo.top_k`, which compilers implement in their own way. With it comes
    a definition by sorting, as StableHLO requires one for compilers that do not know the operation.

    Args:
        model: is not changed.
        path: the file to write; its folder is created if needed. An existing file is replaced once the new one is
            complete.
        settings: shapes, precision and suppression.
        platforms: the platforms that the file can run on, of `PLATFORMS`.

    Returns:
        `path`.

    Raises:
        ConfigError: a platform is unknown, the precision is int8, or the package flatbuffers is missing.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ConfigError("export to StableHLO needs the package flatbuffers: pip install 'yolox-jax[stablehlo]'")
    unknown = [platform for platform in platforms if platform not in PLATFORMS]
    if unknown or not platforms:
        raise ConfigError(f"platforms must be one or more of {', '.join(PLATFORMS)}; got {list(platforms)}")
    check_precision(settings.precision)
    settings.check(model)
    (height, width), pixels = settings.input_size, settings.pixels(model)
    batch = jax.export.symbolic_shape("batch")[0] if settings.batch is None else settings.batch
    images = jax.ShapeDtypeStruct((batch, height, width, pixels.channels), pixels.dtype)
    ratios = jax.ShapeDtypeStruct((batch,), jnp.float32)
    function = _detection(model, settings) if settings.detections else _raw(model, settings)
    exported = jax.export.export(jax.jit(function), platforms=tuple(platforms))(
        *((images, ratios) if settings.detections else (images,))
    )
    metadata = settings.metadata(model) | {"platforms": json.dumps(list(platforms))}
    return _write(Path(path), exported.serialize(), metadata)


def _detection(model: YOLOX, settings: ExportSettings) -> Callable[..., dict[str, Array]]:
    graphdef, state = prepare_for_inference(model, settings.precision)
    thresholds = Thresholds(
        settings.score_threshold,
        settings.iou_threshold,
        settings.class_agnostic,
        jnp.ones(model.num_classes, bool),
    )

    def function(images: UInt[Array, "B H W C"], ratios: Float[Array, " B"]) -> dict[str, Array]:
        found, _ = detect(
            graphdef, state, images, ratios, thresholds, max_detections=settings.max_detections, options=_OPTIONS
        )
        count = jnp.sum(found.valid, axis=1, dtype=jnp.int32)
        return {"boxes": found.boxes, "scores": found.scores, "classes": found.classes, "count": count}

    return function


def _raw(model: YOLOX, settings: ExportSettings) -> Callable[..., dict[str, Array]]:
    graphdef, state = prepare_for_inference(model, settings.precision)

    def function(images: UInt[Array, "B H W C"]) -> dict[str, Array]:
        raw = nnx.merge(graphdef, state)(to_float(images), _OPTIONS)
        return {"predictions": decode(raw, image_size=settings.input_size, per_cell=model.boxes_per_cell)}

    return function


def _write(path: Path, program: bytearray, metadata: Mapping[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        # ZipInfo has a fixed date, so that the same network gives the same file.
        archive.writestr(zipfile.ZipInfo(PROGRAM), bytes(program))
        archive.writestr(zipfile.ZipInfo(METADATA), json.dumps(metadata, indent=2, ensure_ascii=False))
    return path
