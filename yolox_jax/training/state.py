"""All that a training run carries from one step to the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, PyTree


class TrainState(NamedTuple):
    """Weights, their moving average, batch statistics and the optimizer's memory; a pytree of arrays."""

    step: Int[Array, ""]
    """Steps taken so far."""
    params: nnx.State
    batch_stats: nnx.State
    ema_params: nnx.State
    ema_batch_stats: nnx.State
    opt_state: PyTree


def create_train_state(model: nnx.Module, optimizer: optax.GradientTransformation) -> tuple[nnx.GraphDef, TrainState]:
    """Splits `model` (in training mode) into its structure and the state of a run that starts from its weights."""
    graphdef, *states = nnx.split(model, nnx.Param, nnx.BatchStat)
    params, batch_stats = states
    # The step donates its state, so no two parts of it may share a buffer, nor share one with `model`.
    copy = lambda tree: jax.tree.map(jnp.copy, tree)  # noqa: E731
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=copy(params),
        batch_stats=copy(batch_stats),
        ema_params=copy(params),
        ema_batch_stats=copy(batch_stats),
        opt_state=optimizer.init(params),
    )
    return graphdef, state
