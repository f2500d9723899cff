"""Label assignment as plain data: the anchors assigned to each object, and their costs."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int, UInt8

from yolox_jax.anchors import STRIDES, anchor_points
from yolox_jax.assignment import assign
from yolox_jax.assignment.costs import MatchCosts, match_costs
from yolox_jax.assignment.simota import dynamic_k
from yolox_jax.config import AssignmentConfig
from yolox_jax.models.yolox import YOLOX
from yolox_jax.structures import Assignment, Targets


class AssignedAnchor(NamedTuple):
    """An anchor that is trained to predict an object."""

    place: int
    """Index among all anchors of the image."""
    stride: int
    """Stride of its level: 8, 16 or 32 px."""
    row: int
    """Row of its cell in the grid of its level."""
    column: int
    x: float
    """Centre of its cell in pixels of the network input."""
    y: float
    iou: float
    """IoU of its predicted box with the object."""
    cost: float


class AssignedObject(NamedTuple):
    """An object and the anchors assigned to it."""

    class_index: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the network input."""
    dynamic_k: int
    """Number of anchors that it is assigned if there are enough candidates: about the sum of its best IoUs."""
    candidates: int
    """Number of candidate anchors: those near any object of the image, the same for all its objects."""
    anchors: tuple[AssignedAnchor, ...]
    """Lowest cost first; empty if the object has no candidates, or each of them costs less for another object."""


def assigned_anchors(
    model: YOLOX, images: UInt8[np.ndarray, "B H W 3"], targets: Targets, config: AssignmentConfig
) -> list[list[AssignedObject]]:
    """Assign the anchors of a batch of images.

    Args:
        model: in evaluation mode, so that the assignment of an image does not depend on the rest of the batch. Training
            assigns with predictions that use the statistics of the batch, which differ slightly.
        images: BGR.
        targets: objects in pixels of the images.
        config: settings of SimOTA.

    Returns:
        The valid objects of each image, in the order of their slots.
    """
    graphdef, state = nnx.split(model)
    assignment, costs, num_taken = jax.device_get(_compiled(graphdef, config)(state, jnp.asarray(images), targets))
    grid, stride = anchor_points((images.shape[1], images.shape[2]))
    centres = (grid + 0.5) * stride[:, None]

    def anchor(image: int, slot: int, index: int) -> AssignedAnchor:
        x, y = centres[index].tolist()
        column, row = grid[index].astype(int).tolist()
        iou, cost = (float(array[image, slot, index]) for array in (costs.iou, costs.cost))
        return AssignedAnchor(index, int(stride[index]), row, column, x, y, iou, cost)

    found = []
    for image in range(len(images)):
        objects = []
        for slot in np.flatnonzero(np.asarray(targets.valid[image])).tolist():
            taken = np.flatnonzero(assignment.matched_gt[image] == slot).tolist()
            anchors = sorted((anchor(image, slot, index) for index in taken), key=lambda one: one.cost)
            x, y, width, height = np.asarray(targets.boxes[image, slot]).tolist()
            objects.append(
                AssignedObject(
                    class_index=int(targets.classes[image, slot]),
                    box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
                    dynamic_k=int(num_taken[image, slot]),
                    candidates=int(costs.eligible[image, slot].sum()),
                    anchors=tuple(anchors),
                )
            )
        found.append(objects)
    return found


def summary_of(objects: Sequence[AssignedObject]) -> dict[str, float]:
    """Count objects, objects without anchors and anchors per level; average the IoU and cost of the anchors.

    The averages are NaN if there are no anchors.
    """
    anchors = [anchor for thing in objects for anchor in thing.anchors]
    per_level = {f"stride_{stride}": sum(anchor.stride == stride for anchor in anchors) for stride in STRIDES}
    return {
        "objects": len(objects),
        "without_anchors": sum(not thing.anchors for thing in objects),
        "anchors": len(anchors),
        "anchors_per_object": len(anchors) / max(len(objects), 1),
        **per_level,
        "mean_iou": float(np.mean([anchor.iou for anchor in anchors])) if anchors else math.nan,
        "mean_cost": float(np.mean([anchor.cost for anchor in anchors])) if anchors else math.nan,
    }


def change_of(before: Sequence[AssignedObject], after: Sequence[AssignedObject]) -> dict[str, int]:
    """Compare the assignment of the same objects under two sets of weights.

    Args:
        before: objects of one or several images.
        after: the same objects in the same order, under the second weights.

    Returns:
        Counts of matches (pairs of an anchor and an object): `kept`, `gained` and `lost`. Counts of objects: with
        different anchors (`objects_changed`), without anchors only after (`objects_left_without`), and without anchors
        only before (`objects_no_longer_without`).
    """
    pairs = [
        ({anchor.place for anchor in old.anchors}, {anchor.place for anchor in new.anchors})
        for old, new in zip(before, after, strict=True)
    ]
    return {
        "kept": sum(len(old & new) for old, new in pairs),
        "gained": sum(len(new - old) for old, new in pairs),
        "lost": sum(len(old - new) for old, new in pairs),
        "objects_changed": sum(old != new for old, new in pairs),
        "objects_left_without": sum(bool(old) and not new for old, new in pairs),
        "objects_no_longer_without": sum(not old and bool(new) for old, new in pairs),
    }


@functools.cache
def _compiled(
    graphdef: nnx.GraphDef, config: AssignmentConfig
) -> Callable[..., tuple[Assignment, MatchCosts, Int[Array, "B G"]]]:
    def assign_with_costs(
        state: Any, images: UInt8[Array, "B H W 3"], targets: Targets
    ) -> tuple[Assignment, MatchCosts, Int[Array, "B G"]]:
        raw = nnx.merge(graphdef, state)(images.astype(jnp.float32))
        size = images.shape[1], images.shape[2]
        costs = match_costs(raw, targets, image_size=size, config=config)
        assigned = assign(raw, targets, image_size=size, config=config)
        return assigned, costs, dynamic_k(costs.iou, config.max_dynamic_k)

    return jax.jit(assign_with_costs)
