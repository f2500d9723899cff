"""Checks images, boxes and classes that come from a user's Python code. Errors say where the values come from."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int32, UInt

from yolox_jax.data.augment.objects import Objects
from yolox_jax.data.dataset import DataError
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.data.sources.checks import CLIP_TOLERANCE_PX


def checked_image(image: Any, where: str, pixels: PixelFormat | None = None) -> UInt[np.ndarray, "H W C"]:
    """Return the image if it is one.

    Args:
        image: should be uint8 or uint16 [H, W, C].
        where: what the error starts with.
        pixels: the format that it must have; None allows any.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"{where}: the image must be a NumPy array, got {type(image).__name__}. For an RGB image from PIL, pass "
            "numpy.array(image)[..., ::-1]",
            kind="invalid images",
        )
    is_image = image.dtype in (np.uint8, np.uint16) and image.ndim == 3 and image.size > 0
    if not is_image or (pixels is not None and pixels != PixelFormat.of(image)):
        is_float = np.issubdtype(image.dtype, np.floating)
        expected = "uint8 [H, W, 3] in BGR order"
        if pixels not in (None, BGR8):
            expected = f"uint{pixels.bits} [H, W, {pixels.channels}], like the others"
        raise DataError(
            f"{where}: the image must be {expected}, got {image.dtype} {list(image.shape)}"
            + ". Scale floats to 0 to 255 and convert them with .astype(numpy.uint8)" * is_float,
            kind="invalid images",
        )
    return image


def checked_objects(boxes: Any, classes: Any, size: tuple[int, int], num_classes: int, where: str) -> Objects:
    """Return the objects of an image, whose boxes are clipped where rounding put them outside.

    Objects of which nothing is left then, or in float32, are left out, as readers of files do.

    Args:
        boxes: should be numbers [N, 4]: x1, y1, x2, y2 in px.
        classes: should be integers [N].
        size: height and width of the image in px.
        num_classes: number of classes.
        where: what the error starts with.

    Raises:
        DataError: boxes and classes differ in number, a box has NaN, no area, or reaches outside the image, or a class
            does not exist.
    """
    height, width = size
    found = _numbers(boxes, "boxes", where)
    if not found.size:  # such as []
        found = found.reshape(0, 4)
    if found.ndim != 2 or found.shape[1] != 4:
        raise DataError(f"{where}: boxes must be [N, 4]: x1, y1, x2, y2 in px; got the shape {list(found.shape)}")
    labels = _checked_classes(classes, len(found), num_classes, where)
    clipped = np.clip(found, 0, np.array([width, height] * 2)).astype(np.float32)
    for problem, wrong in (
        ("has NaN or infinity. Correct it or leave it out", ~np.isfinite(found).all(axis=1)),
        (
            "has no area. Boxes are x1, y1, x2, y2, with x1 < x2 and y1 < y2; for x, y, width, height, pass x, y, x + "
            "width, y + height",
            (found[:, 2:] <= found[:, :2]).any(axis=1),
        ),
        (
            f"reaches outside the image of {width}x{height} px (width x height). Clip boxes to the image, and leave "
            "out those outside",
            (np.abs(clipped - found) > CLIP_TOLERANCE_PX).any(axis=1),
        ),
    ):
        if wrong.any():
            index = int(wrong.argmax())
            box = ", ".join(f"{value:g}" for value in found[index])
            raise DataError(f"{where}: boxes[{index}] ({box}) {problem}", kind="invalid boxes")
    return Objects(clipped, labels).keep((clipped[:, 2:] > clipped[:, :2]).all(axis=1))


def _checked_classes(classes: Any, count: int, num_classes: int, where: str) -> Int32[np.ndarray, " N"]:
    labels = _numbers(classes, "classes", where)
    if labels.shape != (count,):
        raise DataError(f"{where}: {count} boxes need classes of the shape [{count}], got {list(labels.shape)}")
    wrong = (labels != np.round(labels)) | (labels < 0) | (labels >= num_classes) | ~np.isfinite(labels)
    if wrong.any():
        index = int(wrong.argmax())
        raise DataError(
            f"{where}: classes[{index}] is {labels[index]:g}; it must be an integer from 0 to {num_classes - 1}, an "
            "index into the class names",
            kind="unknown classes",
        )
    return labels.astype(np.int32)


def _numbers(values: Any, name: str, where: str) -> Float64[np.ndarray, "..."]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        of_what = " (indices into the class names)" if name == "classes" else ""
        raise DataError(f"{where}: {name} must be numbers{of_what}: {error}") from error
