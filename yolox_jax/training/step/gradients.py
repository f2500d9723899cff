"""Gradients of one batch: each device computes its share, and one reduction adds them up."""

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from yolox_jax.config import Config
from yolox_jax.losses import detection_loss
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.structures import Targets
from yolox_jax.training.step.mesh import DATA_AXIS
from yolox_jax.training.step.multiscale import resize_batch
from yolox_jax.training.step.state import TrainState


class Batch(TypedDict):
    """What the host sends: images at the loading size and padded objects in px of that size."""

    images: UInt8[Array, "B H W 3"]
    boxes: Float[Array, "B G 4"]
    classes: Int[Array, "B G"]
    valid: Bool[Array, "B G"]


Metrics = dict[str, Float[Array, ""]]


class Gradients(NamedTuple):
    """Outcome of the backward pass, the same on all devices."""

    params: nnx.State
    """Gradient of the loss of the whole batch with respect to the weights, times the loss scale."""
    batch_stats: nnx.State
    """Running statistics after this batch: the mean over the devices."""
    metrics: Metrics
    """`loss` and its parts, not scaled, and `num_foreground`."""


def make_gradients(
    graphdef: nnx.GraphDef, config: Config, mesh: Mesh
) -> Callable[[TrainState, Batch, Float[Array, ""], tuple[int, int]], Gradients]:
    """Builds `gradients(state, batch, l1_weight, size) -> Gradients`, to be called inside a jitted step.

    Args:
        graphdef: structure of the model in training mode, from `create_train_state`.
        config: losses, assignment, batch norm and the number of parts of a batch.
        mesh: the devices.
    """
    options = ForwardOptions(
        batch_norm_axis=DATA_AXIS if config.train.sync_batch_norm else None,
        rematerialise=config.train.rematerialise == "stage",
    )

    def of_part(state: TrainState, batch: Batch, l1_weight: Float[Array, ""], size: tuple[int, int]) -> Gradients:
        targets = Targets(batch["boxes"], batch["classes"], batch["valid"])
        images, targets = resize_batch(batch["images"], targets, size)

        def scaled_loss(params: nnx.State) -> tuple[Float[Array, ""], tuple[nnx.State, Metrics]]:
            # A copy: batch norm may not write into variables that belong to the trace outside.
            model = nnx.merge(graphdef, params, state.batch_stats, state.frozen, copy=True)
            raw = model(images, options)
            total, parts = detection_loss(
                raw,
                targets,
                image_size=size,
                l1_weight=l1_weight,
                config=config.loss,
                assignment=config.assignment,
                axis_name=DATA_AXIS,
            )
            return total * state.loss_scale.value, (nnx.state(model, nnx.BatchStat), {"loss": total, **parts})

        gradients, (batch_stats, metrics) = jax.grad(scaled_loss, has_aux=True)(state.params)
        return Gradients(gradients, batch_stats, metrics)

    def of_share(state: TrainState, batch: Batch, l1_weight: Float[Array, ""], size: tuple[int, int]) -> Gradients:
        if config.train.accumulation_steps == 1:
            found = of_part(state, batch, l1_weight, size)
        else:
            found = _accumulate(
                lambda state, part: of_part(state, part, l1_weight, size), state, batch, config.train.accumulation_steps
            )
        return _reduce(found, mesh.size)

    def gradients(state: TrainState, batch: Batch, l1_weight: Float[Array, ""], size: tuple[int, int]) -> Gradients:
        everywhere = PartitionSpec()
        return jax.shard_map(
            lambda state, batch, l1_weight: of_share(state, batch, l1_weight, size),
            mesh=mesh,
            in_specs=(everywhere, PartitionSpec(DATA_AXIS), everywhere),
            out_specs=everywhere,
            # The reductions are explicit; with the check on, jax would add its own to the gradients.
            check_vma=False,
        )(state, batch, l1_weight)

    return gradients


def _accumulate(
    of_part: Callable[[TrainState, Batch], Gradients], state: TrainState, batch: Batch, parts: int
) -> Gradients:
    """The gradients of a batch whose parts are computed one after another.

    Each part's loss is divided by its own foreground anchors; weighted by their number, the parts add up to the loss
    that is divided by those of all.
    """
    batches = jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), batch)

    def add(carry: tuple[nnx.State, PyTree, Array], part: Batch) -> tuple[tuple[nnx.State, PyTree, Array], None]:
        batch_stats, sums, num_foreground = carry
        found = of_part(state._replace(batch_stats=batch_stats), part)
        losses = {name: value for name, value in found.metrics.items() if name != "num_foreground"}
        weight = jnp.maximum(found.metrics["num_foreground"], 1.0)
        sums = jax.tree.map(lambda total, x: total + weight * x, sums, (found.params, losses))
        return (found.batch_stats, sums, num_foreground + found.metrics["num_foreground"]), None

    shapes = jax.eval_shape(of_part, state, jax.tree.map(lambda x: x[0], batches))
    losses = {name: value for name, value in shapes.metrics.items() if name != "num_foreground"}
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes.params, losses))
    (batch_stats, sums, num_foreground), _ = jax.lax.scan(
        add, (state.batch_stats, zeros, jnp.zeros((), jnp.float32)), batches
    )
    gradients, losses = jax.tree.map(lambda x: x / jnp.maximum(num_foreground, 1.0), sums)
    return Gradients(gradients, batch_stats, {**losses, "num_foreground": num_foreground})


def _reduce(share: Gradients, num_devices: int) -> Gradients:
    """Adds up the shares of all devices, all arrays at once: XLA makes a few collectives of them.

    Joining them into one array first would make one, but double the time to compile.
    """
    losses = dict(share.metrics)
    num_foreground = losses.pop("num_foreground")  # already a sum over the devices
    batch_stats = jax.tree.map(lambda x: x / num_devices, share.batch_stats)
    gradients, batch_stats, losses = jax.lax.psum((share.params, batch_stats, losses), DATA_AXIS)
    return Gradients(gradients, batch_stats, {**losses, "num_foreground": num_foreground})
