"""Draws images straight to where they end up: one warp each, of the part that is seen.

Positions count from the corner of an image, so that the middle of its first px is at 0.5, as boxes do.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.data.augment.matrix import Affine, Window, mirroring, scaling
from yolox_jax.data.image import Pixels


class Placement(NamedTuple):
    """Where an image goes."""

    record_index: int
    """Whose image it is."""
    matrix: Affine
    """From the whole image to the output, both in px."""
    window: Window
    """The part of the whole image that is shown."""
    right_of_it: bool = False
    """Whether another image, drawn later, joins it at its right."""
    below_it: bool = False
    """Whether another image, drawn later, joins it at its bottom."""

    def mirrored(self, width: int) -> "Placement":
        """The same in an output, `width` px wide, that is mirrored left to right."""
        return self._replace(matrix=mirroring(width).after(self.matrix))


def seen_part(placement: Placement, output_size: tuple[int, int]) -> tuple[Window, Window] | None:
    """The smallest upright windows around what is seen of an image: in the output, in whole px, and in the image.

    Returns:
        None if nothing is seen. That is exact: two parallelograms that do not meet are parted by a side of one of them.
    """
    if not placement.matrix.determinant:
        return None
    x1, y1, x2, y2 = placement.matrix.bounds(placement.window)
    output = (
        max(math.floor(x1), 0),
        max(math.floor(y1), 0),
        min(math.ceil(x2), output_size[1]),
        min(math.ceil(y2), output_size[0]),
    )
    if output[0] >= output[2] or output[1] >= output[3]:
        return None
    x1, y1, x2, y2 = placement.matrix.inverse().bounds(output)
    left, top, right, bottom = placement.window
    image = (max(x1, left), max(y1, top), min(x2, right), min(y2, bottom))
    return None if image[0] >= image[2] or image[1] >= image[3] else (output, image)


def paint(canvas: UInt8[np.ndarray, "H W 4"], placement: Placement, load: Callable[[Placement], Pixels]) -> None:
    """Draw what is seen of an image over a canvas, with bilinear interpolation.

    The canvas has a fourth channel because OpenCV warps four channels in half the time of three.

    Args:
        canvas: is drawn on.
        placement: where the image goes.
        load: gives the image; it is not called if nothing of it is seen.
    """
    seen = seen_part(placement, canvas.shape[:2])
    if seen is None:
        return
    pixels = load(placement)
    x1, y1, x2, y2 = map(int, seen[0])
    crop, (left, top) = _crop(pixels, placement.window, seen[1])
    if not crop.size:
        return
    scale_x, scale_y = pixels.scale
    from_crop = scaling(1 / scale_x, 1 / scale_y, (left / scale_x, top / scale_y))
    matrix = scaling(1, 1, (-x1, -y1)).after(placement.matrix).after(from_crop)
    cv2.warpAffine(
        _with_margins(crop, placement),
        matrix.for_middles(),
        (x2 - x1, y2 - y1),
        dst=canvas[y1:y2, x1:x2],
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def _crop(pixels: Pixels, shown: Window, seen: Window) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[int, int]]:
    """The part of a loaded image that is needed, and its corner."""
    image, (scale_x, scale_y) = pixels
    # Where an image is cut, it ends at a whole px; where it goes out of view, two px more serve the interpolation.
    x1 = max(round(shown[0] * scale_x), math.floor(seen[0] * scale_x) - 2, 0)
    y1 = max(round(shown[1] * scale_y), math.floor(seen[1] * scale_y) - 2, 0)
    x2 = min(round(shown[2] * scale_x), math.ceil(seen[2] * scale_x) + 2, image.shape[1])
    y2 = min(round(shown[3] * scale_y), math.ceil(seen[3] * scale_y) + 2, image.shape[0])
    return image[y1 : max(y1, y2), x1 : max(x1, x2)], (x1, y1)


def _with_margins(crop: UInt8[np.ndarray, "h w 3"], placement: Placement) -> UInt8[np.ndarray, "hh ww 4"]:
    """A crop with four channels, and its last px once more where another image joins it.

    Between the middles of the outermost px of two images, the one drawn later is blended with what is there: that
    should be the first of them, not the grey below.
    """
    height, width = crop.shape[:2]
    right, below = int(placement.right_of_it), int(placement.below_it)
    image = np.empty((height + below, width + right, 4), np.uint8)
    cv2.cvtColor(crop, cv2.COLOR_BGR2BGRA, dst=image[:height, :width])
    if right:
        image[:height, width] = image[:height, width - 1]
    if below:
        image[height] = image[height - 1]
    return image
