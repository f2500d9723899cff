"""Mosaic: four images around a point of a canvas twice the input size (docs/yolox.md, 7.3)."""

from collections.abc import Sequence

import numpy as np

from yolox_jax.data.augment.matrix import scaling
from yolox_jax.data.augment.objects import Objects
from yolox_jax.data.augment.paint import Placement
from yolox_jax.data.dataset import Record
from yolox_jax.data.letterbox import fitted_size

PxWindow = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole px."""


def place_tile(
    quadrant: int, centre_xy: tuple[int, int], tile_size: tuple[int, int], canvas_size: tuple[int, int]
) -> tuple[PxWindow, PxWindow]:
    """Place a tile: it has one corner at the centre and is cut at the border of the canvas.

    Args:
        quadrant: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
        centre_xy: the point where the tiles meet, in pixels of the canvas.
        tile_size: height and width of the tile.
        canvas_size: height and width of the canvas.

    Returns:
        The window of the canvas that the tile fills, and the window of the tile that is visible.
    """
    (height, width), (canvas_height, canvas_width) = tile_size, canvas_size
    left = centre_xy[0] - width if quadrant in (0, 2) else centre_xy[0]
    top = centre_xy[1] - height if quadrant in (0, 1) else centre_xy[1]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + width, canvas_width), min(top + height, canvas_height)
    return (x1, y1, x2, y2), (x1 - left, y1 - top, x2 - left, y2 - top)


def draw_centre(rng: np.random.Generator, input_size: tuple[int, int]) -> tuple[int, int]:
    """Draw x and y of a point in the central quarter of the canvas."""
    height, width = input_size
    y, x = int(rng.uniform(0.5 * height, 1.5 * height)), int(rng.uniform(0.5 * width, 1.5 * width))
    return x, y


def place_tiles(
    indices: Sequence[int], records: Sequence[Record], centre_xy: tuple[int, int], input_size: tuple[int, int]
) -> tuple[list[Placement], Objects]:
    """Place four images, each resized to fit the input size, on a canvas of twice the input size.

    Boxes are clipped to the canvas; boxes outside it lose their area.
    """
    canvas_size = (2 * input_size[0], 2 * input_size[1])
    placements, all_boxes = [], []
    for quadrant, (index, record) in enumerate(zip(indices, records, strict=True)):
        (height, width), ratio = fitted_size((record.height, record.width), input_size)
        (x1, y1, _, _), (u1, v1, u2, v2) = place_tile(quadrant, centre_xy, (height, width), canvas_size)
        left, top = x1 - u1, y1 - v1
        scale_x, scale_y = width / record.width, height / record.height
        placements.append(
            Placement(
                index,
                scaling(scale_x, scale_y, (left, top)),
                (u1 / scale_x, v1 / scale_y, u2 / scale_x, v2 / scale_y),
                neighbour_right=quadrant in (0, 2),
                neighbour_below=quadrant in (0, 1),
            )
        )
        all_boxes.append(record.boxes * np.float32(ratio) + np.array([left, top, left, top], np.float32))
    limit = np.array([canvas_size[1], canvas_size[0]] * 2, np.float32)
    boxes = np.clip(np.concatenate(all_boxes), 0.0, limit)
    return placements, Objects(boxes, np.concatenate([record.classes for record in records]))
