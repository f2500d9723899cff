"""Anchor points of the network and decoding of its boxes (docs/yolox.md, 3)."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from yolox_jax.config import LEVELS, STRIDES


def anchor_points(
    image_size: tuple[int, int], per_cell: int = 1, strides: Sequence[int] = STRIDES
) -> tuple[Float[np.ndarray, "A 2"], Float[np.ndarray, "A"]]:
    """Cell and stride of every anchor, level by level, row by row.

    >>> grid, stride = anchor_points((32, 64))
    >>> len(grid), grid[1].tolist(), stride[[0, -1]].tolist()
    (42, [1.0, 0.0], [8.0, 32.0])

    Args:
        image_size: height and width of the network input in px.
        per_cell: number of anchors in a cell, one after the other. Networks with anchor boxes have several.
        strides: side in px of a cell of each level, in the order of the anchors.

    Returns:
        Column and row of each anchor's cell, and its stride in px; float32 constants. The top left corner of a cell is
        at (column, row) * stride px, its centre at (column + 0.5, row + 0.5) * stride px.

    Raises:
        ValueError: a side is not a positive multiple of the largest stride.
    """
    height, width = image_size
    if min(height, width) <= 0 or height % strides[-1] or width % strides[-1]:
        raise ValueError(
            f"height and width of the input must be positive multiples of {strides[-1]} px; got {height}x{width} px"
        )
    cells, sides = [], []
    for side in strides:
        rows, columns = np.mgrid[: height // side, : width // side]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=-1))
        sides.append(np.full(rows.size, side))
    grid, stride = np.concatenate(cells).astype(np.float32), np.concatenate(sides).astype(np.float32)
    return np.repeat(grid, per_cell, axis=0), np.repeat(stride, per_cell)


def level_strides(num_anchors: int, image_size: tuple[int, int], per_cell: int = 1) -> tuple[int, ...]:
    """Strides of the levels of a network with this many anchors: each choice of levels has another number.

    >>> level_strides(84, (64, 64)), level_strides(84 + 256, (64, 64))
    ((8, 16, 32), (4, 8, 16, 32))

    Args:
        num_anchors: number of predictions of the network for an image.
        image_size: height and width of the network input in px.
        per_cell: number of anchors in a cell.

    Raises:
        ValueError: a side is not a positive multiple of 32, or no network has this many anchors.
    """
    height, width = image_size
    num_usual = len(anchor_points(image_size, per_cell)[1])
    for strides in LEVELS:
        is_multiple = height % strides[-1] == width % strides[-1] == 0
        if is_multiple and num_anchors == per_cell * sum((height // side) * (width // side) for side in strides):
            return strides
    raise ValueError(
        f"an input of {height}x{width} px has {num_usual} anchors, but the network output has {num_anchors}; pass the "
        "input size of the network as `image_size`"
    )


def anchor_levels(image_size: tuple[int, int], per_cell: int = 1) -> Int[np.ndarray, "A"]:
    """Level of every anchor of YOLOX: the index of its stride in `STRIDES`. The rest is as for `anchor_points`."""
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
        raw_boxes: the first four channels of the network's output, of any float type. Their number tells the levels.
        image_size: height and width of the network input in px.
        per_cell: number of anchors in a cell.

    Returns:
        Centre x, centre y, width and height in px, float32.

    Raises:
        ValueError: the number of anchors does not match `image_size` and `per_cell`.
    """
    strides = level_strides(raw_boxes.shape[-2], image_size, per_cell)
    grid, stride = anchor_points(image_size, per_cell, strides)
    raw_boxes = raw_boxes.astype(jnp.float32)
    centres = (raw_boxes[..., :2] + grid) * stride[:, None]
    sizes = jnp.exp(raw_boxes[..., 2:]) * stride[:, None]
    return jnp.concatenate([centres, sizes], axis=-1)
