"""One training step, compiled once for each input size: a pure function of the state and the batch."""

import functools
from collections.abc import Callable
from typing import TypedDict

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt8

from yolox_jax.config import Config
from yolox_jax.losses import detection_loss
from yolox_jax.structures import Targets
from yolox_jax.training.mesh import DATA_AXIS
from yolox_jax.training.multiscale import resize_batch
from yolox_jax.training.optimizer import ema_decay
from yolox_jax.training.state import TrainState


class Batch(TypedDict):
    """What the host sends: images at the loading size and padded objects in px of that size."""

    images: UInt8[Array, "B H W 3"]
    boxes: Float[Array, "B G 4"]
    classes: Int[Array, "B G"]
    valid: Bool[Array, "B G"]


Metrics = dict[str, Float[Array, ""]]
TrainStep = Callable[..., tuple[TrainState, Metrics]]


def make_train_step(
    graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation, config: Config, mesh: Mesh
) -> TrainStep:
    """Builds `step(state, batch, l1_weight, size) -> (state, metrics)`.

    Each device computes its share of the loss, normalised by the positives of the whole batch, with batch norm over
    its own images; gradients, losses and statistics are then reduced together. `state` is donated.

    Args:
        graphdef: structure of the model in training mode, from `create_train_state`.
        optimizer: from `sgd`.
        config: losses, assignment and decay of the average.
        mesh: the devices.

    Returns:
        The step. `l1_weight` is a scalar, so that switching L1 on compiles nothing; `size` (height, width) is static.
        `metrics` holds `loss`, its parts, `num_foreground` and `gradient_norm` as scalars on the device.
    """

    def local_gradients(
        params: nnx.State, batch_stats: nnx.State, batch: Batch, l1_weight: Float[Array, ""], size: tuple[int, int]
    ) -> tuple[nnx.State, nnx.State, Metrics]:
        targets = Targets(batch["boxes"], batch["classes"], batch["valid"])
        images, targets = resize_batch(batch["images"], targets, size)

        def loss(params: nnx.State) -> tuple[Float[Array, ""], tuple[nnx.State, Metrics]]:
            # A copy: batch norm may not write into variables that belong to the trace outside.
            model = nnx.merge(graphdef, params, batch_stats, copy=True)
            total, parts = detection_loss(
                model(images),
                targets,
                image_size=size,
                l1_weight=l1_weight,
                config=config.loss,
                assignment=config.assignment,
                axis_name=DATA_AXIS,
            )
            return total, (nnx.state(model, nnx.BatchStat), {"loss": total, **parts})

        gradients, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(params)
        num_foreground = metrics.pop("num_foreground")  # already a sum over the devices
        gradients, metrics = jax.lax.psum((gradients, metrics), DATA_AXIS)
        return gradients, jax.lax.pmean(batch_stats, DATA_AXIS), {**metrics, "num_foreground": num_foreground}

    @functools.partial(jax.jit, static_argnames="size", donate_argnames="state")
    def step(
        state: TrainState, batch: Batch, l1_weight: Float[Array, ""] | float, size: tuple[int, int]
    ) -> tuple[TrainState, Metrics]:
        everywhere = PartitionSpec()
        gradients, batch_stats, metrics = jax.shard_map(
            functools.partial(local_gradients, size=size),
            mesh=mesh,
            in_specs=(everywhere, everywhere, PartitionSpec(DATA_AXIS), everywhere),
            out_specs=everywhere,
            # The reductions above are explicit; with the check on, jax would add its own to the gradients.
            check_vma=False,
        )(state.params, state.batch_stats, batch, jnp.asarray(l1_weight, jnp.float32))
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay(state.step + 1, config.train.ema_decay, config.train.ema_ramp_steps)
        average = functools.partial(jax.tree.map, lambda old, new: decay * old + (1 - decay) * new)
        return TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            ema_params=average(state.ema_params, params),
            ema_batch_stats=average(state.ema_batch_stats, batch_stats),
            opt_state=opt_state,
        ), metrics

    return step
