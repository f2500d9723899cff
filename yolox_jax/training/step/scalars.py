"""The numbers that a training step takes as arguments, so that runs which differ in them alone share its program."""

from typing import NamedTuple

from jaxtyping import Array, Float

from yolox_jax.losses import LossWeights


class AdamScalars(NamedTuple):
    """Settings of AdamW."""

    beta1: float | Float[Array, ""]
    beta2: float | Float[Array, ""]
    eps: float | Float[Array, ""]


class StepScalars(NamedTuple):
    """Settings and schedules at one step: float32, computed on the host, which knows the number of the step."""

    learning_rate: float | Float[Array, ""]
    momentum: float | Float[Array, ""]
    weight_decay: float | Float[Array, ""]
    clip_norm: float | Float[Array, ""]
    """Norm to clip gradients to; infinite to leave them as they are."""
    ema_decay: float | Float[Array, ""]
    """Decay of the averaged weights."""
    loss: LossWeights
    """Its `l1_weight` is 0 while the L1 loss is off."""
    adam: AdamScalars | None = None
    """None with SGD."""
    stage_rates: tuple[float | Float[Array, ""], ...] | None = None
    """Learning rate of each stage of the network relative to that of the head; None if all have the same."""
