"""The anchor points of the network and the decoding of its boxes (SPEC A2.1)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

STRIDES = (8, 16, 32)
"""Px of the network input a cell of each level covers, in the order of the anchors."""


def anchor_points(image_size: tuple[int, int]) -> tuple[Float[np.ndarray, "A 2"], Float[np.ndarray, "A"]]:
    """Cell and stride of every anchor, level by level, row by row.

    >>> grid, stride = anchor_points((32, 64))
    >>> len(grid), grid[1].tolist(), stride[[0, -1]].tolist()
    (42, [1.0, 0.0], [8.0, 32.0])

    Args:
        image_size: height and width of the network input in px.

    Returns:
        Column and row of each anchor's cell, and its stride in px; float32 constants. The cell (column, row) covers
        the px from (column, row) * stride on; its middle is at (column + 0.5, row + 0.5) * stride.

    Raises:
        ValueError: a side is not a positive multiple of 32.
    """
    height, width = image_size
    if min(height, width) <= 0 or height % STRIDES[-1] or width % STRIDES[-1]:
        raise ValueError(
            f"the input size is {height}x{width} px (height x width); both must be multiples of {STRIDES[-1]}"
        )
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=-1))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode_boxes(raw_boxes: Float[Array, "*B A 4"], image_size: tuple[int, int]) -> Float[Array, "*B A 4"]:
    """Boxes in px from the network's (tx, ty, tw, th), SPEC A2.1.

    The centre is (t + cell) * stride, the size exp(t) * stride.

    Args:
        raw_boxes: the first four channels of the network's output, of any float type.
        image_size: height and width of the network input in px.

    Returns:
        Centre x, centre y, width and height in px, float32.

    Raises:
        ValueError: the number of anchors does not belong to `image_size`.
    """
    grid, stride = anchor_points(image_size)
    if raw_boxes.shape[-2] != len(stride):
        raise ValueError(
            f"the output has {raw_boxes.shape[-2]} anchors, but an input of {image_size[0]}x{image_size[1]} px has "
            f"{len(stride)}; pass the size the network was run at"
        )
    raw_boxes = raw_boxes.astype(jnp.float32)
    centres = (raw_boxes[..., :2] + grid) * stride[:, None]
    sizes = jnp.exp(raw_boxes[..., 2:]) * stride[:, None]
    return jnp.concatenate([centres, sizes], axis=-1)
