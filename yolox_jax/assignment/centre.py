"""Assignment by the centre of the object, on the level of its size: one cell, or 3x3 (docs/roadmap.md).

These are the steps between anchor boxes and SimOTA (YOLOX paper, section 2.1): which anchors are foreground depends on
the objects alone, not on what the network predicts.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.anchors import anchor_levels, decode_boxes
from yolox_jax.assignment.cells import assign_claimed, cells_about
from yolox_jax.assignment.costs import pairwise_iou
from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Assignment, Targets


def centre(
    raw: Float[Array, "B A F"], targets: Targets, *, image_size: tuple[int, int], config: AssignmentConfig
) -> Assignment:
    """Assigns to each object the cell that holds its centre, on the level of its longest side."""
    return _assign_about(raw, targets, image_size, config, reach=0)


def multi_positives(
    raw: Float[Array, "B A F"], targets: Targets, *, image_size: tuple[int, int], config: AssignmentConfig
) -> Assignment:
    """Assigns to each object the 3x3 cells about its centre, on the level of its longest side."""
    return _assign_about(raw, targets, image_size, config, reach=1)


def _assign_about(
    raw: Float[Array, "B A F"], targets: Targets, image_size: tuple[int, int], config: AssignmentConfig, reach: int
) -> Assignment:
    boxes = lax.stop_gradient(targets.boxes.astype(jnp.float32))
    longest_side = jnp.max(boxes[..., 2:], axis=-1)
    level = jnp.sum(longest_side[..., None] > jnp.asarray(config.level_sizes_px), axis=-1)
    claimed = cells_about(boxes, image_size, reach) & (level[..., None] == anchor_levels(image_size))
    predicted = decode_boxes(lax.stop_gradient(raw[..., :4]), image_size)
    return assign_claimed(claimed & targets.valid[:, :, None], pairwise_iou(boxes, predicted))
