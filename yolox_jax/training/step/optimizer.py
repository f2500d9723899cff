"""Optimizers, and the decay of the averaged weights (docs/yolox.md, 8)."""

import math

import jax
import optax
from jaxtyping import PyTree, ScalarLike

from yolox_jax.config import OptimizerConfig
from yolox_jax.training.step.scalars import AdamScalars, StepScalars


def make_optimizer(config: OptimizerConfig, scalars: StepScalars) -> optax.GradientTransformation:
    """The optimizer of a config with the numbers of one step. Its state does not depend on the numbers."""
    if config.name == "adamw":
        assert scalars.adam is not None
        return adamw(scalars.learning_rate, scalars.adam, scalars.weight_decay, scalars.clip_norm)
    return sgd(scalars.learning_rate, scalars.momentum, scalars.weight_decay, scalars.clip_norm)


def initial_state(config: OptimizerConfig, params: PyTree) -> PyTree:
    """The state of the optimizer before the first step."""
    if config.name == "adamw":
        return adamw(0.0, AdamScalars(0.0, 0.0, 0.0), 0.0, 0.0).init(params)
    return sgd(0.0, 0.0, 0.0, 0.0).init(params)


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


def adamw(
    learning_rate: ScalarLike, adam: AdamScalars, weight_decay: ScalarLike, clip_norm: ScalarLike
) -> optax.GradientTransformation:
    """AdamW as in PyTorch: decoupled weight decay, scaled by the learning rate (docs/yolox.md, 8.1).

    Decay and clipping apply as in `sgd`. All numbers may be traced. Source: https://arxiv.org/abs/1711.05101.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.scale_by_adam(adam.beta1, adam.beta2, adam.eps),
        optax.add_decayed_weights(weight_decay, mask=_is_kernel),
        optax.scale_by_learning_rate(learning_rate),
    )


def _is_kernel(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), params)


def ema_decay(updates: int, decay: float, ramp_steps: float) -> float:
    """Decay of the averaged weights at an update, counted from 1: decay * (1 - exp(-updates / ramp_steps)).

    Source: docs/yolox.md, 8.3.
    """
    return -decay * math.expm1(-updates / ramp_steps)
