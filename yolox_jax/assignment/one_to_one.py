"""One-to-one assignment, for networks that need no suppression (docs/roadmap.md; arXiv 2101.11782)."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Assignment, Targets


def one_to_one(
    raw: Float[Array, "B A F"], targets: Targets, assigned: Assignment, *, config: AssignmentConfig = AssignmentConfig()
) -> Assignment:
    """Selects one of the anchors that each object has been assigned. No gradient flows through it.

    It is the one with the largest p^(1 - a) * IoU^a, the first of equals, where a is `config.one_to_one_iou_power`, and
    p the product of the probabilities of the object's class, of an object, and of this anchor being the one.

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, logit of being the one.
        targets: objects, in pixels of the network input.
        assigned: result of the rule for the usual losses.
        config: the exponent of the IoU.

    Returns:
        The anchors selected: at most one for each object. An object without any assigned anchor has none.
    """
    raw = lax.stop_gradient(raw.astype(jnp.float32))
    num_slots = targets.classes.shape[1]
    slot = jnp.maximum(assigned.matched_gt, 0)
    own_class = jnp.take_along_axis(targets.classes, slot, axis=1)
    own_logit = jnp.take_along_axis(raw[..., 5:-1], own_class[..., None], axis=-1, mode="clip")[..., 0]
    # In logarithms, so that small probabilities do not all become 0.
    log_p = jax.nn.log_sigmoid(own_logit) + jax.nn.log_sigmoid(raw[..., 4]) + jax.nn.log_sigmoid(raw[..., -1])
    power = config.one_to_one_iou_power
    value = jnp.exp((1 - power) * log_p) * assigned.matched_iou**power

    # An anchor belongs to one object at most, so that no two objects compete for one: greedy matching, in any order, is
    # an arg-max for each object.
    is_own = assigned.matched_gt[:, None] == jnp.arange(num_slots)[:, None]
    selected = jnp.argmax(jnp.where(is_own, value[:, None], -1.0), axis=-1)
    is_selected = jnp.take_along_axis(selected, slot, axis=1) == jnp.arange(value.shape[1])
    foreground = assigned.foreground & is_selected
    return Assignment(foreground, jnp.where(foreground, slot, -1), jnp.where(foreground, assigned.matched_iou, 0.0))
