"""Recognises YOLO labels that hold keypoints although their data.yaml does not say so.

`class x y width height px1 py1 ...` may have as many numbers as `class x1 y1 x2 y2 ...`, a polygon. Read as a polygon,
a line of keypoints gives a box of nearly the whole image.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

MAX_LINES = 1000
"""Lines to look at."""
ENOUGH_LINES = 3
"""Lines that polygons hardly resemble keypoints in by chance."""
TOLERANCE = 0.01
"""By how much a box may extend beyond the image, and a point beyond its box, as a fraction of the image."""
MIN_SPREAD = 0.2
"""Part of the box that the points span in half of the lines or more. Polygons far from the top left span less."""


class Keypoints(NamedTuple):
    """Lines that can be read as keypoints."""

    where: str
    """The first of them."""
    num_numbers: int
    """Of each line."""
    shape: tuple[int, int]
    """Number of points, and numbers of each: 2, or 3 with visibility."""
    certain: bool
    """Whether they can hardly be polygons."""


def find_keypoints(files: Iterable[tuple[Path, bytes]]) -> Keypoints | None:
    """Tell whether labels hold keypoints: all lines have the same length, and all points lie in their box.

    Args:
        files: label files and their content.
    """
    first = ""
    rows: list[list[float]] = []
    for where, row in islice(_rows(files), MAX_LINES):
        if row is None or len(row) < 7 or (rows and len(row) != len(rows[0])):
            return None
        first = first or where
        rows.append(row)
    if not rows:
        return None
    numbers = np.array(rows, np.float64)
    length = numbers.shape[1]
    for dims in (3, 2):
        if (length - 5) % dims == 0 and _are_keypoints(numbers, dims):
            certain = dims == 3 or len(rows) >= ENOUGH_LINES
            return Keypoints(first, length, ((length - 5) // dims, dims), certain)
    return None


def _rows(files: Iterable[tuple[Path, bytes]]) -> Iterable[tuple[str, list[float] | None]]:
    for path, content in files:
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                try:
                    yield f"{path}, line {number}", list(map(float, line.split()))
                except ValueError:
                    yield f"{path}, line {number}", None


def _are_keypoints(numbers: Float[np.ndarray, "L N"], dims: int) -> bool:
    centres, sizes = numbers[:, None, 1:3], numbers[:, None, 3:5]
    points = numbers[:, 5:].reshape(len(numbers), -1, dims)
    places = points[..., :2]
    unset = (places == 0).all(axis=2)
    if dims == 3:
        if not np.isin(points[..., 2], (0, 1, 2)).all():
            return False
        unset |= points[..., 2] == 0
    if unset.all() or (sizes <= 0).any():
        return False
    in_image = (np.abs(centres - 0.5) + sizes / 2 <= 0.5 + TOLERANCE).all()
    in_box = (np.abs(places - centres) <= sizes / 2 + TOLERANCE).all(axis=2)
    return bool(in_image and (in_box | unset).all() and (dims == 3 or _spread_out(places, sizes, unset)))


def _spread_out(
    places: Float[np.ndarray, "L K 2"], sizes: Float[np.ndarray, "L 1 2"], unset: Bool[np.ndarray, "L K"]
) -> bool:
    if places.shape[1] == 1:
        return True
    known = ~unset[..., None]
    highest, lowest = np.where(known, places, -np.inf).max(axis=1), np.where(known, places, np.inf).min(axis=1)
    spread = ((highest - lowest) / sizes[:, 0]).max(axis=1)
    return bool(np.median(spread[np.isfinite(spread)]) >= MIN_SPREAD)
