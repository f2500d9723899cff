"""Matching costs for every pair of object and anchor.

Arrays are [B, G, A], G object slots by A anchors. Classes never become a fourth axis: the cross entropy against a
one-hot target is a sum that depends on the anchor alone, plus a correction for the object's own class.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from yolox_jax.anchors import anchor_points, decode_boxes, level_strides
from yolox_jax.boxes import cxcywh_to_xyxy, intersection, overlap_ratio
from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Targets

_SMALLEST_LOG = -100.0
"""The original's binary cross entropy clamps both logarithms at this value (docs/yolox.md, 4)."""


class MatchCosts(NamedTuple):
    """Cost and IoU of every pair of an object slot and an anchor."""

    eligible: Bool[Array, "B G A"]
    """Whether the pair may be matched: the slot is valid, and the anchor is a candidate of the image."""
    iou: Float[Array, "B G A"]
    """IoU of the object and the anchor's decoded box; 0 where not eligible."""
    cost: Float[Array, "B G A"]
    """Infinite where not eligible."""


def match_costs(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    config: AssignmentConfig = AssignmentConfig(),
) -> MatchCosts:
    """Costs of all matches: classification, IoU and distance from the centre (docs/yolox.md, 4).

    An anchor is a candidate if its centre is near that of any object of the image. With s the class scores and v the
    IoU, a candidate costs::

        cross_entropy(s, class) + iou_cost * -log(v) + outside_cost * [not near this object]

    No gradient flows through the costs.

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, of any float type.
        targets: objects, in pixels of the network input.
        image_size: height and width of the network input in px.
        config: centre radius and weights of the costs.

    Raises:
        ValueError: the number of anchors does not match `image_size`.
    """
    raw = lax.stop_gradient(raw.astype(jnp.float32))
    boxes = lax.stop_gradient(targets.boxes.astype(jnp.float32))
    strides = level_strides(raw.shape[1], image_size)
    near = near_centre(boxes, image_size, strides, config.center_radius) & targets.valid[:, :, None]
    eligible = jnp.any(near, axis=1, keepdims=True) & targets.valid[:, :, None]
    iou = jnp.where(eligible, pairwise_iou(boxes, decode_boxes(raw[..., :4], image_size)), 0.0)
    cost = classification_cost(raw[..., 4:5], raw[..., 5:], targets.classes) + config.iou_cost * -jnp.log(iou + 1e-8)
    cost = jnp.where(eligible, cost + jnp.where(near, 0.0, config.outside_cost), jnp.inf)
    return MatchCosts(eligible, iou, cost)


def near_centre(
    boxes: Float[Array, "B G 4"], image_size: tuple[int, int], strides: tuple[int, ...], radius: float
) -> Bool[Array, "B G A"]:
    """Whether the anchor's centre is less than `radius` strides from the object's along both axes."""
    grid, stride = anchor_points(image_size, strides=strides)
    centres = (grid + 0.5) * stride[:, None]
    near_x = jnp.abs(centres[:, 0] - boxes[:, :, 0, None]) < radius * stride
    near_y = jnp.abs(centres[:, 1] - boxes[:, :, 1, None]) < radius * stride
    return near_x & near_y


def pairwise_iou(objects: Float[Array, "B G 4"], predicted: Float[Array, "B A 4"]) -> Float[Array, "B G A"]:
    """IoU of boxes given by centre and size. As in the original, areas come from the sizes rather than the edges."""
    shared = intersection(cxcywh_to_xyxy(objects)[:, :, None], cxcywh_to_xyxy(predicted)[:, None])
    return overlap_ratio(shared, jnp.prod(objects[:, :, None, 2:], -1), jnp.prod(predicted[:, None, :, 2:], -1))


def classification_cost(
    objectness: Float[Array, "B A 1"], class_logits: Float[Array, "B A C"], classes: Int[Array, "B G"]
) -> Float[Array, "B G A"]:
    """Cross entropy of the scores against the object's class, summed over the classes."""
    score = class_scores(objectness, class_logits)
    return sum_over_classes(-clamped_log(score), -clamped_log(1 - score), classes)


def class_scores(objectness: Float[Array, "B A 1"], class_logits: Float[Array, "B A C"]) -> Float[Array, "B A C"]:
    """Geometric mean of class probability and objectness."""
    return jnp.sqrt(jax.nn.sigmoid(class_logits) * jax.nn.sigmoid(objectness))


def clamped_log(score: Float[Array, "B A C"]) -> Float[Array, "B A C"]:
    """Logarithm, at least -100."""
    return jnp.maximum(jnp.log(score), _SMALLEST_LOG)


def sum_over_classes(
    positive_cost: Float[Array, "B A C"], negative_cost: Float[Array, "B A C"], classes: Int[Array, "B G"]
) -> Float[Array, "B G A"]:
    """Positive cost of the object's class plus negative costs of all others."""
    # One row of all anchors for each class; an object takes the row of its own. An empty slot may hold any class.
    correction = jnp.swapaxes(positive_cost - negative_cost, 1, 2)
    own_correction = jnp.take_along_axis(correction, classes[:, :, None], axis=1, mode="clip")
    return own_correction + jnp.sum(negative_cost, axis=-1)[:, None]
