"""Dynamic loss scaling for float16, which keeps small gradients from underflowing (docs/yolox.md, 6)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from yolox_jax.config import TrainConfig


class LossScale(NamedTuple):
    """Factor applied to the loss in the backward pass; always 1 in the other precisions."""

    value: Float[Array, ""]
    good_steps: Int[Array, ""]
    """Steps without an overflow since the last change."""


def initial_loss_scale(config: TrainConfig) -> LossScale:
    """The loss scale at the start of a run."""
    value = config.loss_scale if config.precision == "float16" else 1.0
    return LossScale(jnp.asarray(value, jnp.float32), jnp.zeros((), jnp.int32))


def adjusted(scale: LossScale, finite: Bool[Array, ""], config: TrainConfig) -> LossScale:
    """The loss scale after a step: halved on overflow, doubled after `loss_scale_growth_steps` without one.

    It never drops below 1, because gradients that overflow at 1 do so without scaling too.
    """
    if config.precision != "float16":
        return scale
    good_steps = scale.good_steps + 1
    grows = good_steps >= config.loss_scale_growth_steps
    value = jnp.where(finite, jnp.where(grows, 2.0 * scale.value, scale.value), jnp.maximum(scale.value / 2, 1.0))
    return LossScale(value, jnp.where(finite & ~grows, good_steps, 0))
