"""Optimizer, learning-rate schedule, and the decay of the averaged weights (docs/yolox.md, 8)."""

import math

import jax
import optax
from jaxtyping import PyTree, ScalarLike

from yolox_jax.config import ScheduleConfig


def warmup_cosine(step: int, peak: float, schedule: ScheduleConfig, steps_per_epoch: int) -> float:
    """Learning rate at a step, counted from 0: quadratic warm-up, cosine decay, then constant (docs/yolox.md, 8.2).

    With Tw warm-up steps, T steps in total and Tn steps in the last `no_aug_epochs`::

        t <= Tw:      peak * (t / Tw)^2
        t >= T - Tn:  floor
        else:         floor + (peak - floor) / 2 * (1 + cos(pi * (t - Tw) / (T - Tw - Tn)))

    Args:
        step: the step t.
        peak: highest learning rate.
        schedule: epochs of each part, and the floor as a fraction of the peak.
        steps_per_epoch: steps in one epoch.
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    flat_from = (schedule.epochs - schedule.no_aug_epochs) * steps_per_epoch
    floor = schedule.min_lr_ratio * peak
    if 0 < warmup >= step:
        return peak * (step / max(warmup, 1)) ** 2
    if step >= flat_from:
        return floor
    progress = (step - warmup) / max(flat_from - warmup, 1)
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * progress))


def sgd(
    learning_rate: ScalarLike, momentum: ScalarLike, weight_decay: ScalarLike, clip_norm: ScalarLike
) -> optax.GradientTransformation:
    """SGD as in PyTorch: Nesterov momentum, with weight decay added to the gradient before it (docs/yolox.md, 8.1).

    Weight decay applies to convolution kernels only, not to biases and batch norm. Gradients are first clipped to
    `clip_norm`, which may be infinite. All arguments may be traced.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.trace(momentum, nesterov=True),
        optax.scale_by_learning_rate(learning_rate),
    )


def _is_kernel(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), params)


def ema_decay(updates: int, decay: float, ramp_steps: float) -> float:
    """Decay of the averaged weights at an update, counted from 1: decay * (1 - exp(-updates / ramp_steps)).

    Source: docs/yolox.md, 8.3.
    """
    return -decay * math.expm1(-updates / ramp_steps)
