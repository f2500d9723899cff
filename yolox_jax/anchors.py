"""Anchor points of the network and decoding of its boxes (docs/yolox.md, 3)."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

STRIDES = (8, 16, 32)
"""Side in pixels of the network input of a cell of each level, in the order of the anchors."""


def anchor_points(
    image_size: tuple[int, int], per_cell: int = 1
) -> tuple[Float[np.ndarray, "A 2"], Float[np.ndarray, "A"]]:
    """Cell and stride of every anchor, level by level, row by row.

    >>> grid, stride = anchor_points((32, 64))
    >>> len(grid), grid[1].tolist(), stride[[0, -1]].tolist()
    (42, [1.0, 0.0], [8.0, 32.0])

    Args:
        image_size: height and width of the network input in px.
        per_cell: number of anchors in a cell, one after the other. Networks with anchor boxes have several.

    Returns:
        Column and row of each anchor's cell, and its stride in px; float32 constants. The top left corner of a cell is
        at (column, row) * stride px, its centre at (column + 0.5, row + 0.5) * stride px.

    Raises:
        ValueError: a side is not a positive multiple of 32.
    """
    height, width = image_size
    if min(height, width) <= 0 or height % STRIDES[-1] or width % STRIDES[-1]:
        raise ValueError(
            f"height and width of the input must be positive multiples of {STRIDES[-1]} px; got {height}x{width} px"
        )
    cells, strides = [], []
    for side in STRIDES:
        rows, columns = np.mgrid[: height // side, : width // side]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=-1))
        strides.append(np.full(rows.size, side))
    grid, stride = np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
    return np.repeat(grid, per_cell, axis=0), np.repeat(stride, per_cell)


def anchor_levels(image_size: tuple[int, int], per_cell: int = 1) -> Int[np.ndarray, "A"]:
    """Level of every anchor: the index of its stride in `STRIDES`. Arguments and errors as for `anchor_points`."""
    _, stride = anchor_points(image_size, per_cell)
    return np.searchsorted(STRIDES, stride)


def boxes_per_cell(anchor_boxes: Sequence[tuple[float, float]]) -> int:
    """Number of predictions in a cell: one for each anchor box of its level, or one without anchor boxes.

    Args:
        anchor_boxes: width and height in px of the boxes of a network, a third of them for each level.
    """
    return len(anchor_boxes) // len(STRIDES) or 1


def decode_boxes(
    raw_boxes: Float[Array, "*B A 4"], image_size: tuple[int, int], per_cell: int = 1
) -> Float[Array, "*B A 4"]:
    """Boxes in px from the network's (tx, ty, tw, th) (docs/yolox.md, 3).

    The centre is ((tx, ty) + cell) * stride, the size exp((tw, th)) * stride. For an anchor in column 1 and row 0 at
    stride 8:

    >>> raw_boxes = jnp.zeros((21, 4)).at[1].set(jnp.array([0.5, 0.5, 0.0, jnp.log(2.0)]))
    >>> decode_boxes(raw_boxes, (32, 32))[1].tolist()
    [12.0, 4.0, 8.0, 16.0]

    Args:
        raw_boxes: the first four channels of the network's output, of any float type.
        image_size: height and width of the network input in px.
        per_cell: number of anchors in a cell.

    Returns:
        Centre x, centre y, width and height in px, float32.

    Raises:
        ValueError: the number of anchors does not match `image_size` and `per_cell`.
    """
    grid, stride = anchor_points(image_size, per_cell)
    if raw_boxes.shape[-2] != len(stride):
        raise ValueError(
            f"an input of {image_size[0]}x{image_size[1]} px has {len(stride)} anchors, but the network output has "
            f"{raw_boxes.shape[-2]}; pass the input size of the network as `image_size`"
        )
    raw_boxes = raw_boxes.astype(jnp.float32)
    centres = (raw_boxes[..., :2] + grid) * stride[:, None]
    sizes = jnp.exp(raw_boxes[..., 2:]) * stride[:, None]
    return jnp.concatenate([centres, sizes], axis=-1)
