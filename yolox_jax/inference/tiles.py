"""Cuts large images into overlapping tiles, in which small objects keep their size."""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int


class Tiling(NamedTuple):
    """How to cut images."""

    height: int
    """Of a tile, in px of the image."""
    width: int
    overlap: float
    """Smallest overlap of neighbouring tiles, as a fraction of their sides: an object of at most this size is whole in
    one of them."""


def tiling_of(tile: int | Literal["auto"] | None, overlap: float, input_size: tuple[int, int]) -> Tiling | None:
    """Return the tiling with the aspect ratio of the network's input, which its tiles then fill.

    Args:
        tile: the longer side of a tile in px; "auto" for that of the input, at which tiles are not resized; None for no
            tiles.
        overlap: of neighbouring tiles, as a fraction of their sides.
        input_size: height and width of the network's input in px.
    """
    if tile is None:
        return None
    longest = max(input_size)
    height, width = (max(1, round(side * (longest if tile == "auto" else tile) / longest)) for side in input_size)
    return Tiling(height, width, overlap)


def regions_of(image_size: tuple[int, int], tiling: Tiling) -> Int[np.ndarray, "R 4"]:
    """Return the regions of an image to detect in: the whole image, and if it is larger than a tile, its tiles.

    There are as few tiles as reach the overlap. They are spread evenly, row by row, and all of one size; where the
    image is narrower or lower than a tile, so are they.

    Args:
        image_size: height and width in px.
        tiling: size and overlap of the tiles.

    Returns:
        x1, y1, x2, y2 in px.

    >>> regions_of((100, 150), Tiling(100, 100, 0.2)).tolist()
    [[0, 0, 150, 100], [0, 0, 100, 100], [50, 0, 150, 100]]
    """
    height, width = image_size
    regions = [(0, 0, width, height)]
    if height > tiling.height or width > tiling.width:
        tile_height, tile_width = min(height, tiling.height), min(width, tiling.width)
        regions += [
            (left, top, left + tile_width, top + tile_height)
            for top in _starts(height, tile_height, tiling.overlap)
            for left in _starts(width, tile_width, tiling.overlap)
        ]
    return np.array(regions, np.int64)


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where the tiles begin along one side of an image."""
    step = max(1, math.floor(tile * (1 - overlap)))
    count = 1 + math.ceil((length - tile) / step)
    # In whole numbers, so that no step is larger than `step`.
    return [index * (length - tile) // max(1, count - 1) for index in range(count)]
