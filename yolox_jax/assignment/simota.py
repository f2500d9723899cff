"""SimOTA: which object each anchor is trained to predict (docs/yolox.md, 4; YOLOX paper, section 2.1).

The whole batch is one computation on arrays [B, G, A] of fixed shape, G object slots by A anchors.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from yolox_jax.assignment.costs import match_costs
from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Assignment, Targets
from yolox_jax.top_k import top_k


def simota(
    raw: Float[Array, "B A F"], targets: Targets, *, image_size: tuple[int, int], config: AssignmentConfig
) -> Assignment:
    """Assigns anchors to the objects of a batch of images (docs/yolox.md, 4). No gradient flows through it.

    An anchor is a candidate if its centre is near that of any object of the image. An object takes its k cheapest
    candidates, where k is about the sum of its best IoUs. An anchor taken by several objects goes to the one of the
    image for which it is cheapest. Ties go to the lowest index. All anchors of an image without objects are background,
    an object whose centre lies outside the image may get no anchor, and one with fewer than k candidates takes them
    all.

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, of any float type; computed in float32.
        targets: objects, in pixels of the network input.
        image_size: height and width of the network input in px.
        config: centre radius, weights of the costs and largest k.
    """
    eligible, iou, cost = match_costs(raw, targets, image_size=image_size, config=config)
    num_slots = iou.shape[1]
    taken = _cheapest(cost, dynamic_k(iou, config.max_dynamic_k), config.max_dynamic_k) & eligible
    num_takers = jnp.sum(taken, axis=1, keepdims=True)
    # A contested anchor goes to the cheapest of all objects, even one that did not take it (docs/yolox.md, 4).
    owner = jnp.where(num_takers > 1, cost == jnp.min(cost, axis=1, keepdims=True), taken)
    slots = jnp.arange(num_slots, dtype=jnp.int32)[:, None]
    matched = jnp.min(jnp.where(owner, slots, num_slots - 1), axis=1)
    foreground = num_takers[:, 0] > 0
    matched_iou = jnp.take_along_axis(iou, matched[:, None], axis=1)[:, 0]
    return Assignment(foreground, jnp.where(foreground, matched, -1), jnp.where(foreground, matched_iou, 0.0))


def dynamic_k(iou: Float[Array, "B G A"], max_k: int) -> Int[Array, "B G"]:
    """Number of anchors an object takes: the sum of its `max_k` best IoUs, rounded down, at least 1."""
    best, _ = top_k(iou, min(max_k, iou.shape[-1]))
    return jnp.maximum(jnp.sum(best, axis=-1).astype(jnp.int32), 1)


def _cheapest(cost: Float[Array, "B G A"], k: Int[Array, "B G"], max_k: int) -> Bool[Array, "B G A"]:
    """The k smallest costs of each row, the lowest index first among equals."""
    negated, index = top_k(-cost, min(max_k, cost.shape[-1]))
    # Only rounding makes k exceed `max_k`, when every IoU is 1.
    last = jnp.minimum(k, negated.shape[-1])[:, :, None] - 1
    last_cost = -jnp.take_along_axis(negated, last, axis=-1)
    last_index = jnp.take_along_axis(index, last, axis=-1)
    return (cost < last_cost) | ((cost == last_cost) & (jnp.arange(cost.shape[-1]) <= last_index))
