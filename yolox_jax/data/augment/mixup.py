"""MixUp: the mean of a mosaic and a partner image, with the objects of both (docs/yolox.md, 7.4)."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt

from yolox_jax.data.augment.matrix import mirroring, scaling
from yolox_jax.data.augment.objects import Objects
from yolox_jax.data.augment.paint import Placement
from yolox_jax.data.dataset import Record
from yolox_jax.data.letterbox import fitted_size, padding_of


class Partner(NamedTuple):
    """The image blended into a mosaic: randomly zoomed, mirrored and cropped."""

    placement: Placement
    padded: tuple[int, int, int, int]
    """Window of the output in px that the letterboxed image covers, padding included; the rest is black."""

    def mirrored(self, width: int) -> "Partner":
        """Return the partner for an output, `width` px wide, that is mirrored left to right."""
        x1, y1, x2, y2 = self.padded
        return Partner(self.placement.mirrored(width), (width - x2, y1, width - x1, y2))


def draw_partner(
    index: int, record: Record, size: tuple[int, int], scale_range: tuple[float, float], rng: np.random.Generator
) -> tuple[Partner, Objects]:
    """Draw the zoom, mirroring and crop of a partner; `size` is the height and width of the output."""
    height, width = size
    zoom = rng.uniform(*scale_range)
    mirrored = rng.uniform() > 0.5
    # The image is letterboxed first, then resized together with its padding.
    fitted, ratio = fitted_size((record.height, record.width), size)
    zoomed_height, zoomed_width = max(int(height * zoom), 1), max(int(width * zoom), 1)
    matrix = scaling(
        fitted[1] / record.width * zoomed_width / width, fitted[0] / record.height * zoomed_height / height
    )
    limit = np.array([zoomed_width, zoomed_height] * 2, np.float32)
    objects = Objects(np.clip(record.boxes * np.float32(ratio * zoom), 0.0, limit), record.classes)
    if mirrored:
        matrix = mirroring(zoomed_width).after(matrix)
        objects = objects.mirrored(zoomed_width)
    top = int(rng.integers(max(zoomed_height - height, 1)))
    left = int(rng.integers(max(zoomed_width - width, 1)))
    placement = Placement(index, scaling(1, 1, (-left, -top)).after(matrix), (0, 0, record.width, record.height))
    padded = (0, 0, min(zoomed_width - left, width), min(zoomed_height - top, height))
    boxes = objects.boxes - np.array([left, top, left, top], np.float32)
    boxes = np.clip(boxes, 0.0, np.array([width, height] * 2, np.float32))
    return Partner(placement, padded), objects._replace(boxes=boxes)


def fill_background(canvas: UInt[np.ndarray, "H W D"], padded: tuple[int, int, int, int]) -> None:
    """Fill the canvas grey where the letterboxed partner goes, and black elsewhere."""
    x1, y1, x2, y2 = padded
    canvas.fill(0)
    canvas[y1:y2, x1:x2] = padding_of(canvas.dtype)


def blend(image: UInt[np.ndarray, "H W D"], other: UInt[np.ndarray, "H W D"]) -> None:
    """Replace the first image by the mean of the two, rounded down."""
    # OpenCV rounds to nearest. Subtracting 0.25 rounds halves down, and leaves whole numbers as they are.
    cv2.addWeighted(image, 0.5, other, 0.5, -0.25, dst=image)
