"""The train state: everything that one training step passes to the next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int, PyTree

from yolox_jax.config import OptimizerConfig, TrainConfig
from yolox_jax.training.step.layout import Packed, packed
from yolox_jax.training.step.loss_scale import LossScale, initial_loss_scale
from yolox_jax.training.step.optimizer import initial_state


class Frozen(nnx.Variable):
    """A weight or statistic that is not trained: no gradient, no weight decay, no averaging."""


class TrainState(NamedTuple):
    """Weights, batch statistics, the moving averages of both, and the optimizer state; a pytree of arrays."""

    step: Int[Array, ""]
    """Steps taken so far, including skipped ones."""
    skipped_steps: Int[Array, ""]
    """Steps skipped because their loss or gradient was not finite."""
    loss_scale: LossScale
    params: Packed
    batch_stats: Packed
    frozen: nnx.State
    """The variables that `model.freeze` selects; often empty."""
    ema_params: Packed
    ema_batch_stats: Packed
    opt_state: PyTree


def create_train_state(
    model: nnx.Module,
    config: TrainConfig = TrainConfig(),
    optimizer: OptimizerConfig = OptimizerConfig(),
    *,
    output_first: bool = False,
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits `model` (in training mode) into its structure and the state of a run that starts from its weights.

    Args:
        model: the network.
        config: precision and loss scale.
        optimizer: which optimizer to start.
        output_first: lay convolution kernels out as cuDNN takes them.
    """
    graphdef, *states = nnx.split(model, nnx.Param, nnx.BatchStat, Frozen)
    params, batch_stats, frozen = jax.device_get(states)
    params, batch_stats = packed(params, output_first=output_first), packed(batch_stats, output_first=output_first)
    # The step donates its state, so no two parts of it may share a buffer, with each other or with `model`.
    copy = lambda tree: jax.tree.map(jnp.array, tree)  # noqa: E731
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        skipped_steps=jnp.zeros((), jnp.int32),
        loss_scale=initial_loss_scale(config),
        params=copy(params),
        batch_stats=copy(batch_stats),
        frozen=copy(frozen),
        ema_params=copy(params),
        ema_batch_stats=copy(batch_stats),
        opt_state=initial_state(optimizer, copy(params)),
    )
    return graphdef, state


def unpacked(state: TrainState) -> TrainState:
    """The state on the host with trees in place of vectors: what a checkpoint holds, whatever the layout."""
    host = jax.device_get(state)
    return jax.tree.map(lambda part: part.tree() if isinstance(part, Packed) else part, host, is_leaf=_is_packed)


def repacked(trees: TrainState, like: TrainState) -> TrainState:
    """The way back from `unpacked`, into the layout of another state of the same network."""
    return jax.tree.map(
        lambda part, tree: part.layout.pack(tree) if isinstance(part, Packed) else tree,
        like,
        trees,
        is_leaf=_is_packed,
    )


def _is_packed(part: PyTree) -> bool:
    return isinstance(part, Packed)
