"""Draws each image directly into the output, with one warp of its visible part.

Coordinates count from the corner of an image, as in boxes: the centre of the first pixel is at 0.5.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt

from yolox_jax.data.augment.matrix import Affine, Window, mirroring, scaling
from yolox_jax.data.image import Pixels


class Placement(NamedTuple):
    """Where an image is drawn in the output."""

    record_index: int
    """Index of the image."""
    matrix: Affine
    """Maps the full-size image to the output, both in px."""
    window: Window
    """The part of the full-size image to draw."""
    neighbour_right: bool = False
    """Whether an image drawn later adjoins it on the right."""
    neighbour_below: bool = False
    """Whether an image drawn later adjoins it at the bottom."""

    def mirrored(self, width: int) -> "Placement":
        """Return the placement in an output, `width` px wide, that is mirrored left to right."""
        return self._replace(matrix=mirroring(width).after(self.matrix))


def visible_part(placement: Placement, output_size: tuple[int, int]) -> tuple[Window, Window] | None:
    """Return the smallest axis-aligned windows around the visible part of an image.

    Returns:
        The window in the output, in whole px, and the window in the image; None if nothing is visible. That is exact:
        two disjoint parallelograms are separated by a side of one of them.
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


def paint(canvas: UInt[np.ndarray, "H W D"], placement: Placement, load: Callable[[Placement], Pixels]) -> None:
    """Draw the visible part of an image onto a canvas, with bilinear interpolation.

    Args:
        canvas: to draw on, with the channels and type of the image, and a fourth where that has three, because OpenCV
            warps four channels in half the time of three.
        placement: of the image.
        load: loads the image; it is not called if nothing of the image is visible.
    """
    visible = visible_part(placement, canvas.shape[:2])
    if visible is None:
        return
    pixels = load(placement)
    x1, y1, x2, y2 = map(int, visible[0])
    crop, (left, top) = crop_visible(pixels, placement.window, visible[1])
    if not crop.size:
        return
    scale_x, scale_y = pixels.scale
    from_crop = scaling(1 / scale_x, 1 / scale_y, (left / scale_x, top / scale_y))
    matrix = scaling(1, 1, (-x1, -y1)).after(placement.matrix).after(from_crop)
    _warp(_with_margins(crop, placement), matrix, canvas[y1:y2, x1:x2])


def _warp(image: UInt[np.ndarray, "h w D"], matrix: Affine, out: UInt[np.ndarray, "H W D"]) -> None:
    """Draw an image onto `out`; what the image does not cover stays."""
    size, to_out = (out.shape[1], out.shape[0]), matrix.to_pixel_centres()
    if image.shape[2] <= 4:
        cv2.warpAffine(image, to_out, size, dst=out, borderMode=cv2.BORDER_TRANSPARENT)
        return
    # OpenCV treats the border of an image with more than four channels differently.
    for first in range(0, image.shape[2], 4):
        channels = slice(first, first + 4)
        part = np.ascontiguousarray(out[..., channels])
        _warp(np.ascontiguousarray(image[..., channels]), matrix, part)
        out[..., channels] = part


def crop_visible(pixels: Pixels, shown: Window, visible: Window) -> tuple[UInt[np.ndarray, "h w C"], tuple[int, int]]:
    """Return the part of a loaded image that is needed to draw it, and its top-left corner.

    Args:
        pixels: the loaded image.
        shown: the part of the full-size image to draw.
        visible: the part of it that can be seen, from `visible_part`.
    """
    image, (scale_x, scale_y) = pixels
    # An image that is cut ends at a whole pixel. Where it leaves the view, interpolation needs two more pixels.
    x1 = max(round(shown[0] * scale_x), math.floor(visible[0] * scale_x) - 2, 0)
    y1 = max(round(shown[1] * scale_y), math.floor(visible[1] * scale_y) - 2, 0)
    x2 = min(round(shown[2] * scale_x), math.ceil(visible[2] * scale_x) + 2, image.shape[1])
    y2 = min(round(shown[3] * scale_y), math.ceil(visible[3] * scale_y) + 2, image.shape[0])
    return image[y1 : max(y1, y2), x1 : max(x1, x2)], (x1, y1)


def _with_margins(crop: UInt[np.ndarray, "h w C"], placement: Placement) -> UInt[np.ndarray, "hh ww D"]:
    """Return the crop with the channels of the canvas, and its last pixels repeated where another image adjoins it.

    Between the outermost pixel centres of two adjoining images, the later one is blended with what is already there.
    That must be the earlier image, not the grey background.
    """
    height, width, channels = crop.shape
    right, below = int(placement.neighbour_right), int(placement.neighbour_below)
    image = np.empty((height + below, width + right, canvas_channels(channels)), crop.dtype)
    if channels == 3:
        cv2.cvtColor(crop, cv2.COLOR_BGR2BGRA, dst=image[:height, :width])
    else:
        image[:height, :width] = crop
    if right:
        image[:height, width] = image[:height, width - 1]
    if below:
        image[height] = image[height - 1]
    return image


def canvas_channels(channels: int) -> int:
    """Return the number of channels of a canvas for images with this number, see `paint`."""
    return 4 if channels == 3 else channels
