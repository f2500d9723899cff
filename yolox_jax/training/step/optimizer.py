"""Optimizer, learning-rate schedule, and the decay of the averaged weights (docs/yolox.md, 8)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from yolox_jax.config import OptimizerConfig, ScheduleConfig


def warmup_cosine(peak: float, schedule: ScheduleConfig, steps_per_epoch: int) -> optax.Schedule:
    """Learning rate per step, counted from 0: quadratic warm-up, cosine decay, then constant (docs/yolox.md, 8.2).

    With Tw warm-up steps, T steps in total and Tn steps in the last `no_aug_epochs`::

        t <= Tw:      peak * (t / Tw)^2
        t >= T - Tn:  floor
        else:         floor + (peak - floor) / 2 * (1 + cos(pi * (t - Tw) / (T - Tw - Tn)))

    Args:
        peak: highest learning rate.
        schedule: epochs of each part, and the floor as a fraction of the peak.
        steps_per_epoch: steps in one epoch.

    Returns:
        A function from the step to its learning rate.
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    flat_from = (schedule.epochs - schedule.no_aug_epochs) * steps_per_epoch
    floor = schedule.min_lr_ratio * peak

    def learning_rate(step: Int[Array, "*steps"] | int) -> Float[Array, "*steps"]:
        rise = peak * (step / max(warmup, 1)) ** 2
        progress = (step - warmup) / max(flat_from - warmup, 1)
        cosine = floor + 0.5 * (peak - floor) * (1 + jnp.cos(jnp.pi * progress))
        value = jnp.where(step >= flat_from, floor, cosine)
        return jnp.where(step <= warmup, rise, value) if warmup > 0 else value

    return learning_rate


def sgd(config: OptimizerConfig, learning_rate: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """SGD as in PyTorch: Nesterov momentum, with weight decay added to the gradient before it (docs/yolox.md, 8.1).

    Weight decay applies to convolution kernels only, not to biases and batch norm. If `clip_norm` is set, gradients
    are clipped first.

    Returns:
        An optimizer whose `update` takes the step number as `step`, so that the learning rate stays in phase with the
        run even if steps are skipped.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity(),
        optax.add_decayed_weights(config.weight_decay, mask=_is_kernel),
        optax.trace(config.momentum, nesterov=True),
        _scale_by_learning_rate(learning_rate),
    )


def _scale_by_learning_rate(learning_rate: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree = None, *, step: Int[Array, ""] | int, **_: object
    ) -> tuple[PyTree, optax.EmptyState]:
        rate = learning_rate(step)
        return jax.tree.map(lambda x: -rate * x, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _is_kernel(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), params)


def ema_decay(updates: Int[Array, "*updates"] | int, decay: float, ramp_steps: float) -> Float[Array, "*updates"]:
    """Decay of the averaged weights at an update, counted from 1: decay * (1 - exp(-updates / ramp_steps)).

    Source: docs/yolox.md, 8.3.
    """
    return -decay * jnp.expm1(-jnp.asarray(updates, jnp.float32) / ramp_steps)
