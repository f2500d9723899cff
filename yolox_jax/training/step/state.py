"""The train state: everything that one training step passes to the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, PyTree

from yolox_jax.config import TrainConfig
from yolox_jax.training.step.loss_scale import LossScale, initial_loss_scale


class Frozen(nnx.Variable):
    """A weight or statistic that is not trained: no gradient, no weight decay, no averaging."""


class TrainState(NamedTuple):
    """Weights, batch statistics, the moving averages of both, and the optimizer state; a pytree of arrays."""

    step: Int[Array, ""]
    """Steps taken so far, including skipped ones."""
    skipped_steps: Int[Array, ""]
    """Steps skipped because their loss or gradient was not finite."""
    loss_scale: LossScale
    params: nnx.State
    batch_stats: nnx.State
    frozen: nnx.State
    """The variables that `model.freeze` selects; often empty."""
    ema_params: nnx.State
    ema_batch_stats: nnx.State
    opt_state: PyTree


def create_train_state(
    model: nnx.Module, optimizer: optax.GradientTransformation, config: TrainConfig = TrainConfig()
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits `model` (in training mode) into its structure and the state of a run that starts from its weights."""
    graphdef, *states = nnx.split(model, nnx.Param, nnx.BatchStat, Frozen)
    # The step donates its state, so no two parts of it may share a buffer, with each other or with `model`.
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731
    params, batch_stats, frozen = map(copy, states)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        skipped_steps=jnp.zeros((), jnp.int32),
        loss_scale=initial_loss_scale(config),
        params=params,
        batch_stats=batch_stats,
        frozen=frozen,
        ema_params=copy(params),
        ema_batch_stats=copy(batch_stats),
        opt_state=optimizer.init(params),
    )
    return graphdef, state
