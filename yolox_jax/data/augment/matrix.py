"""Affine maps of the plane as plain floats: for six numbers, the call overhead of NumPy exceeds the work."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

Window = tuple[float, float, float, float]
"""x1, y1, x2, y2 in px."""


class Affine(NamedTuple):
    """Maps (x, y) to (xx * x + xy * y + x0, yx * x + yy * y + y0)."""

    xx: float
    xy: float
    x0: float
    yx: float
    yy: float
    y0: float

    def after(self, inner: "Affine") -> "Affine":
        """Return the composition that applies `inner` first, then this map."""
        return Affine(
            self.xx * inner.xx + self.xy * inner.yx,
            self.xx * inner.xy + self.xy * inner.yy,
            self.xx * inner.x0 + self.xy * inner.y0 + self.x0,
            self.yx * inner.xx + self.yy * inner.yx,
            self.yx * inner.xy + self.yy * inner.yy,
            self.yx * inner.x0 + self.yy * inner.y0 + self.y0,
        )

    @property
    def determinant(self) -> float:
        """The factor by which areas grow; 0 if the map is singular."""
        return self.xx * self.yy - self.xy * self.yx

    def inverse(self) -> "Affine":
        """Return the inverse map; the determinant must not be 0."""
        determinant = self.determinant
        xx, xy, yx, yy = self.yy / determinant, -self.xy / determinant, -self.yx / determinant, self.xx / determinant
        return Affine(xx, xy, -xx * self.x0 - xy * self.y0, yx, yy, -yx * self.x0 - yy * self.y0)

    def bounds(self, window: Window) -> Window:
        """Return the smallest axis-aligned window that contains the image of `window`."""
        x1, y1, x2, y2 = window
        across, down = (self.xx * x1, self.xx * x2), (self.xy * y1, self.xy * y2)
        left, right = min(across) + min(down) + self.x0, max(across) + max(down) + self.x0
        across, down = (self.yx * x1, self.yx * x2), (self.yy * y1, self.yy * y2)
        return left, min(across) + min(down) + self.y0, right, max(across) + max(down) + self.y0

    @property
    def zoom(self) -> float:
        """The larger of the lengths of the two mapped unit vectors."""
        return max(math.hypot(self.xx, self.yx), math.hypot(self.xy, self.yy))

    def to_pixel_centres(self) -> Float64[np.ndarray, "2 3"]:
        """Return the matrix as OpenCV expects it: coordinates count from the centre of the first pixel."""
        x0 = self.x0 + (self.xx + self.xy - 1) / 2
        y0 = self.y0 + (self.yx + self.yy - 1) / 2
        return np.array([[self.xx, self.xy, x0], [self.yx, self.yy, y0]])


def from_pixel_centres(matrix: Sequence[Sequence[float]]) -> Affine:
    """Convert back from `Affine.to_pixel_centres`; `matrix` has two rows of three numbers."""
    (xx, xy, x0), (yx, yy, y0) = matrix
    return Affine(xx, xy, x0 - (xx + xy - 1) / 2, yx, yy, y0 - (yx + yy - 1) / 2)


def scaling(x: float, y: float, shift: tuple[float, float] = (0.0, 0.0)) -> Affine:
    """Return a map that scales about the corner, then translates by `shift`."""
    return Affine(x, 0.0, shift[0], 0.0, y, shift[1])


def mirroring(width: float) -> Affine:
    """Return a map that mirrors an image of this width left to right."""
    return Affine(-1.0, 0.0, width, 0.0, 1.0, 0.0)
