"""Assignment of YOLOv3: the anchor box most similar in size, at the cell of the object's centre (docs/roadmap.md)."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from yolox_jax.anchors import anchor_levels, anchor_points, boxes_per_cell, decode_boxes
from yolox_jax.assignment.cells import assign_claimed, cells_about
from yolox_jax.assignment.costs import pairwise_iou
from yolox_jax.boxes import overlap_ratio
from yolox_jax.config import STRIDES, AssignmentConfig
from yolox_jax.structures import Assignment, Targets


def yolov3(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    config: AssignmentConfig,
    anchors: tuple[tuple[float, float], ...],
) -> Assignment:
    """Assigns to each object one of the predictions at its centre, that of the anchor box with the best IoU of sizes.

    Predictions that are not assigned, but overlap any object by more than `config.ignored_iou`, are ignored.

    Args:
        raw: network output, with `len(anchors) / 3` predictions in each cell.
        targets: objects, in pixels of the network input.
        image_size: height and width of the network input in px.
        config: the IoU above which predictions are ignored.
        anchors: width and height of the anchor boxes in px, a third of them for each level, from small to large.

    Raises:
        ValueError: the network does not have that many anchor boxes at this size.
    """
    per_cell = boxes_per_cell(anchors)
    box_of_prediction = _anchor_boxes(image_size, raw.shape[1], len(anchors))
    boxes = lax.stop_gradient(targets.boxes.astype(jnp.float32))
    valid = targets.valid[:, :, None]
    most_similar = _most_similar(boxes[..., 2:], jnp.asarray(anchors, jnp.float32))
    claimed = cells_about(boxes, image_size, 0, per_cell) & (most_similar[..., None] == box_of_prediction)
    iou = pairwise_iou(boxes, decode_boxes(lax.stop_gradient(raw[..., :4]), image_size, per_cell))
    assigned = assign_claimed(claimed & valid, iou)
    overlapping = jnp.any(valid & (iou > config.ignored_iou), axis=1)
    return assigned._replace(ignored=overlapping & ~assigned.foreground)


def _anchor_boxes(image_size: tuple[int, int], num_anchors: int, num_boxes: int) -> Int[np.ndarray, "A"]:
    """Index of the anchor box of each prediction."""
    per_cell = num_boxes // len(STRIDES)
    cells, _ = anchor_points(image_size)
    if not per_cell or num_anchors != per_cell * len(cells):
        raise ValueError(
            f"with {num_boxes} anchor boxes, {per_cell} for each level, the network output for {image_size[0]}x"
            f"{image_size[1]} px must have {per_cell * len(cells)} anchors, not {num_anchors}; pass the anchor boxes "
            "of the network as `anchors`"
        )
    # Each level has a multiple of `per_cell` predictions, so that counting never breaks within a cell.
    return anchor_levels(image_size, per_cell) * per_cell + np.arange(num_anchors) % per_cell


def _most_similar(sizes: Float[Array, "B G 2"], anchors: Float[Array, "N 2"]) -> Int[Array, "B G"]:
    """Index of the anchor box with the best IoU with each object, both about the same centre; the first of equals."""
    shared = jnp.prod(jnp.minimum(sizes[..., None, :], anchors), axis=-1)
    return jnp.argmax(overlap_ratio(shared, jnp.prod(sizes, -1)[..., None], jnp.prod(anchors, -1)), axis=-1)
