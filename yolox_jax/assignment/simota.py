"""SimOTA: which object each anchor is trained to predict (SPEC A2.2; YOLOX paper, section 2.1).

The whole batch is one computation on arrays [B, G, A] of fixed shape, G object slots by A anchors. Classes never
become a fourth axis: the cross entropy against a one-hot target is a sum that depends on the anchor alone, plus a
correction in the object's own class.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from yolox_jax.anchors import anchor_points, decode_boxes
from yolox_jax.boxes import cxcywh_to_xyxy, intersection, overlap_ratio
from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Assignment, Targets
from yolox_jax.top_k import top_k

_SMALLEST_LOG = -100.0
"""The original's binary cross entropy clamps both logarithms here (SPEC A2.2, step 3)."""


def assign(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    config: AssignmentConfig = AssignmentConfig(),
) -> Assignment:
    """Assigns anchors to the objects of a batch of images, SPEC A2.2. No gradient flows through it.

    An anchor is a candidate if its centre is near that of any object of the image. An object takes its k cheapest
    candidates, where k is about the sum of its best IoUs; an anchor that several take goes to the object of the image
    it is cheapest for. Ties go to the lowest index. An image without objects is all background, an object whose
    centre lies outside may get nothing, and one with fewer than k candidates takes them all.

    Args:
        raw: output of the network: tx, ty, tw, th, objectness logit, class logits. Computed in float32 whatever its
            type.
        targets: objects, in px of the network input. Valid slots may lie anywhere.
        image_size: height and width of the network input in px.
        config: radius, weights of the costs and largest k.

    Returns:
        Foreground mask, slot of the matched object and IoU with it, for each anchor.

    Raises:
        ValueError: the number of anchors does not belong to `image_size`, or there is not one slot.
    """
    if targets.boxes.shape[1] == 0:
        raise ValueError("targets have no slots: give at least one, which need not be valid")
    eligible, iou, cost, wanted = match_costs(raw, targets, image_size=image_size, config=config)
    num_slots = iou.shape[1]
    taken = _cheapest(cost, wanted, config.max_dynamic_k) & eligible
    num_takers = jnp.sum(taken, axis=1, keepdims=True)
    # Contested anchors go to the cheapest of all objects, even one that did not take them (SPEC A2.2, step 7).
    owner = jnp.where(num_takers > 1, cost == jnp.min(cost, axis=1, keepdims=True), taken)
    slots = jnp.arange(num_slots, dtype=jnp.int32)[:, None]
    matched = jnp.min(jnp.where(owner, slots, num_slots - 1), axis=1)
    foreground = num_takers[:, 0] > 0
    matched_iou = jnp.take_along_axis(iou, matched[:, None], axis=1)[:, 0]
    return Assignment(foreground, jnp.where(foreground, matched, -1), jnp.where(foreground, matched_iou, 0.0))


class MatchCosts(NamedTuple):
    """What `assign` decides by, for every pair of an object slot and an anchor."""

    eligible: Bool[Array, "B G A"]
    """Whether they may be matched at all: a candidate of the image and a real object."""
    iou: Float[Array, "B G A"]
    """0 where not eligible."""
    cost: Float[Array, "B G A"]
    """Infinite where not eligible."""
    wanted: Int[Array, "B G"]
    """The number of anchors that the object takes, if there are as many."""


def match_costs(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    config: AssignmentConfig = AssignmentConfig(),
) -> MatchCosts:
    """The costs of all matches, SPEC A2.2, steps 1 to 5. Arguments and errors as of `assign`."""
    raw = lax.stop_gradient(raw.astype(jnp.float32))
    boxes = lax.stop_gradient(targets.boxes.astype(jnp.float32))
    near = _near_centre(boxes, targets.valid, image_size, config.center_radius)
    eligible = jnp.any(near, axis=1, keepdims=True) & targets.valid[:, :, None]
    iou = jnp.where(eligible, _pairwise_iou(boxes, decode_boxes(raw[..., :4], image_size)), 0.0)
    cost = _class_cost(raw[..., 4:5], raw[..., 5:], targets.classes) + config.iou_cost * -jnp.log(iou + 1e-8)
    cost = jnp.where(eligible, cost + jnp.where(near, 0.0, config.outside_cost), jnp.inf)
    return MatchCosts(eligible, iou, cost, _dynamic_k(iou, config.max_dynamic_k))


def _near_centre(
    boxes: Float[Array, "B G 4"], valid: Bool[Array, "B G"], image_size: tuple[int, int], radius: float
) -> Bool[Array, "B G A"]:
    """Whether the anchor's centre is less than `radius` strides from the object's, along both axes (step 1)."""
    grid, stride = anchor_points(image_size)
    centres = (grid + 0.5) * stride[:, None]
    near_x = jnp.abs(centres[:, 0] - boxes[:, :, 0, None]) < radius * stride
    near_y = jnp.abs(centres[:, 1] - boxes[:, :, 1, None]) < radius * stride
    return near_x & near_y & valid[:, :, None]


def _pairwise_iou(objects: Float[Array, "B G 4"], predicted: Float[Array, "B A 4"]) -> Float[Array, "B G A"]:
    """IoU from the sizes the boxes came with, as the original has it (step 2)."""
    shared = intersection(cxcywh_to_xyxy(objects)[:, :, None], cxcywh_to_xyxy(predicted)[:, None])
    return overlap_ratio(shared, jnp.prod(objects[:, :, None, 2:], -1), jnp.prod(predicted[:, None, :, 2:], -1))


def _class_cost(
    objectness: Float[Array, "B A 1"], class_logits: Float[Array, "B A C"], classes: Int[Array, "B G"]
) -> Float[Array, "B G A"]:
    """Cross entropy, summed over the classes, of the scores against the class of the object (step 3)."""
    score = jnp.sqrt(jax.nn.sigmoid(class_logits) * jax.nn.sigmoid(objectness))
    cost_if_set = -jnp.maximum(jnp.log(score), _SMALLEST_LOG)
    cost_if_not = -jnp.maximum(jnp.log(1 - score), _SMALLEST_LOG)
    # Rows of all anchors, one a class: an object takes the row of its own, whatever the class of an empty slot is.
    correction = jnp.swapaxes(cost_if_set - cost_if_not, 1, 2)
    chosen = jnp.take_along_axis(correction, classes[:, :, None], axis=1, mode="clip")
    return chosen + jnp.sum(cost_if_not, axis=-1)[:, None]


def _dynamic_k(iou: Float[Array, "B G A"], most: int) -> Int[Array, "B G"]:
    """Number of anchors an object wants: the sum of its best IoUs, rounded down, at least 1 (step 5)."""
    best, _ = top_k(iou, min(most, iou.shape[-1]))
    return jnp.maximum(jnp.sum(best, axis=-1).astype(jnp.int32), 1)


def _cheapest(cost: Float[Array, "B G A"], k: Int[Array, "B G"], most: int) -> Bool[Array, "B G A"]:
    """The k smallest costs of each row, the lowest index first among equals (step 6)."""
    negated, index = top_k(-cost, min(most, cost.shape[-1]))
    # k exceeds `most` by rounding alone, when every IoU is 1.
    last = jnp.minimum(k, negated.shape[-1])[:, :, None] - 1
    last_cost = -jnp.take_along_axis(negated, last, axis=-1)
    last_index = jnp.take_along_axis(index, last, axis=-1)
    return (cost < last_cost) | ((cost == last_cost) & (jnp.arange(cost.shape[-1]) <= last_index))
