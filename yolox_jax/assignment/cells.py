"""What the rules share that assign by cell, whatever the network predicts there: `centre` and `yolov3`."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from yolox_jax.anchors import anchor_points
from yolox_jax.structures import Assignment


def cells_about(
    boxes: Float[Array, "B G 4"], image_size: tuple[int, int], reach: int, per_cell: int = 1
) -> Bool[Array, "B G A"]:
    """Whether the anchor's cell is at most `reach` cells from the one of its level that holds the object's centre.

    A cell holds its top and left edges, but not the others. An object whose centre lies outside the image has no cell.
    """
    grid, stride = anchor_points(image_size, per_cell)
    x, y = boxes[:, :, 0, None], boxes[:, :, 1, None]
    height, width = image_size
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    distance_x = jnp.abs(jnp.floor(x / stride) - grid[:, 0])
    distance_y = jnp.abs(jnp.floor(y / stride) - grid[:, 1])
    return inside & (distance_x <= reach) & (distance_y <= reach)


def assign_claimed(claimed: Bool[Array, "B G A"], iou: Float[Array, "B G A"]) -> Assignment:
    """Gives each claimed anchor to the object that overlaps it most, the lowest slot among equals."""
    overlap = jnp.where(claimed, iou, -1.0)
    slot = jnp.argmax(overlap, axis=1).astype(jnp.int32)
    foreground = jnp.any(claimed, axis=1)
    return Assignment(foreground, jnp.where(foreground, slot, -1), jnp.where(foreground, jnp.max(overlap, axis=1), 0.0))
