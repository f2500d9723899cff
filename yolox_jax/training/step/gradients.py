"""Gradients of one batch: each device computes its share, then one reduction sums the shares."""

import logging
import re
from collections.abc import Callable
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt

from yolox_jax.config import Config, TrainConfig
from yolox_jax.losses import LossWeights, detection_loss
from yolox_jax.models.forward_options import ForwardOptions, PointwiseForm
from yolox_jax.structures import Targets
from yolox_jax.training.step.drawing import draw_samples
from yolox_jax.training.step.layout import Packed
from yolox_jax.training.step.mesh import DATA_AXIS, platform_of
from yolox_jax.training.step.multiscale import resize_batch
from yolox_jax.training.step.state import TrainState

logger = logging.getLogger("yolox_jax.training")

OLDEST_FUSED = 8
"""Compute capability that the kernels of `train.fused_conv` need: Triton supports no older cards."""


class Batch(TypedDict):
    """Images at the loading size, and padded objects in px of that size, on the devices.

    With `data.augment.on device`, `images` is drawn from other arrays first (`drawing.py`).
    """

    images: UInt[Array, "B H W C"]
    boxes: Float[Array, "B G 4"]
    classes: Int[Array, "B G"]
    valid: Bool[Array, "B G"]


StepMetrics = dict[str, Float[Array, ""]]


class Gradients(NamedTuple):
    """Result of the backward pass, replicated on all devices."""

    params: Packed
    """Gradient of the loss of the whole batch with respect to the parameters, times the loss scale."""
    batch_stats: Packed
    """Running statistics after this batch: the mean over the devices."""
    metrics: StepMetrics
    """`loss` and its parts, not scaled, and `num_foreground`."""


def forward_options(config: Config, mesh: Mesh) -> ForwardOptions:
    """The options of the forward pass in the training step of a config on these devices."""
    return ForwardOptions(
        batch_norm_axis=DATA_AXIS if config.train.sync_batch_norm else None,
        rematerialise=config.train.rematerialise == "stage",
        separate_one_to_one=config.model.end_to_end,
        # "backend" asks for jax's default backend, which a mesh to compile for alone need not be.
        convolution="backend" if platform_of(mesh) == "cpu" else "primitive",
        for_gpu=platform_of(mesh) == "gpu",
        pointwise=_pointwise_form(config.train, mesh),
    )


def _pointwise_form(config: TrainConfig, mesh: Mesh) -> PointwiseForm:
    if not config.fused_conv:
        return "plain"
    device = mesh.devices.flat[0]
    capability = re.fullmatch(r"(\d+)\.\d+", str(getattr(device, "compute_capability", "")))
    if capability and int(capability[1]) >= OLDEST_FUSED and config.precision != "float32":
        return "fused"
    logger.warning(
        "--train.fused-conv has no effect: it is for NVIDIA GPUs of compute capability %d.0 and later, in bfloat16 or "
        "float16; this is %s in %s",
        OLDEST_FUSED,
        device.device_kind,
        config.precision,
    )
    return "plain"


def make_gradients(
    graphdef: nnx.GraphDef, config: Config, mesh: Mesh
) -> Callable[[TrainState, Batch, LossWeights, tuple[int, int]], Gradients]:
    """Builds `gradients(state, batch, loss_weights, size) -> Gradients`, to be called inside a jitted step.

    Args:
        graphdef: structure of the model in training mode, from `create_train_state`.
        config: network, assignment, batch norm, rematerialisation and gradient accumulation.
        mesh: the devices.
    """
    options = forward_options(config, mesh)

    def microbatch_gradients(
        state: TrainState, batch: Batch, loss_weights: LossWeights, size: tuple[int, int]
    ) -> Gradients:
        batch_stats = state.batch_stats.tree()
        targets = Targets(batch["boxes"], batch["classes"], batch["valid"])
        images, targets = resize_batch(batch["images"], targets, size)

        def scaled_loss(params: nnx.State) -> tuple[Float[Array, ""], tuple[nnx.State, StepMetrics]]:
            # A copy, because batch norm may not write to variables of the enclosing trace.
            model = nnx.merge(graphdef, params, batch_stats, state.frozen, copy=True)
            total, parts = detection_loss(
                model(images, options),
                targets,
                image_size=size,
                l1_weight=1.0,  # whether it is on is part of the weights
                config=loss_weights,
                assignment=config.assignment,
                anchors=config.model.anchors,
                end_to_end=config.model.end_to_end,
                axis_name=DATA_AXIS,
            )
            return total * state.loss_scale.value, (nnx.state(model, nnx.BatchStat), {"loss": total, **parts})

        # With respect to the tree: the gradient of a slice of a vector would be a vector again, most of it zero.
        gradients, (new_batch_stats, metrics) = jax.grad(scaled_loss, has_aux=True)(state.params.tree())
        return Gradients(state.params.layout.pack(gradients), state.batch_stats.layout.pack(new_batch_stats), metrics)

    def gradients(state: TrainState, batch: Batch, loss_weights: LossWeights, size: tuple[int, int]) -> Gradients:
        def device_gradients(state: TrainState, batch: Batch, loss_weights: LossWeights) -> Gradients:
            if config.data.augment.on == "device":
                batch = _drawn(batch)
            share = _accumulate(
                lambda state, microbatch: microbatch_gradients(state, microbatch, loss_weights, size),
                state,
                batch,
                config.train.accumulation_steps,
            )
            return _sum_over_devices(share, mesh.size)

        replicated = PartitionSpec()
        return jax.shard_map(
            device_gradients,
            mesh=mesh,
            in_specs=(replicated, PartitionSpec(DATA_AXIS), replicated),
            out_specs=replicated,
            # The reductions are explicit; with the check on, jax would add its own to the gradients.
            check_vma=False,
        )(state, batch, loss_weights)

    return gradients


def _drawn(batch: Batch) -> Batch:
    """The batch with images in place of what they are drawn from."""
    images = draw_samples(batch)
    return {"images": images, "boxes": batch["boxes"], "classes": batch["classes"], "valid": batch["valid"]}


def _accumulate(
    microbatch_gradients: Callable[[TrainState, Batch], Gradients], state: TrainState, batch: Batch, steps: int
) -> Gradients:
    """Gradients of a batch that is split into `steps` microbatches, computed one after another.

    The loss of a microbatch is divided by its own number of foreground anchors. Weighted by that number, the
    microbatches add up to the loss divided by the number of all foreground anchors. The part
    `one_to_one` of an end-to-end network is divided by a number of its own, but weighted like the others: it becomes
    the mean over the microbatches, weighted by their foreground anchors, which is only about that of the whole batch.
    """
    if steps == 1:
        return microbatch_gradients(state, batch)
    microbatches = jax.tree.map(lambda x: x.reshape(steps, x.shape[0] // steps, *x.shape[1:]), batch)

    def add(carry: tuple[Packed, PyTree, Array], microbatch: Batch) -> tuple[tuple[Packed, PyTree, Array], None]:
        batch_stats, sums, num_foreground = carry
        result = microbatch_gradients(state._replace(batch_stats=batch_stats), microbatch)
        losses = {name: value for name, value in result.metrics.items() if name != "num_foreground"}
        weight = jnp.maximum(result.metrics["num_foreground"], 1.0)
        sums = jax.tree.map(lambda total, x: total + weight * x, sums, (result.params, losses))
        return (result.batch_stats, sums, num_foreground + result.metrics["num_foreground"]), None

    shapes = jax.eval_shape(microbatch_gradients, state, jax.tree.map(lambda x: x[0], microbatches))
    losses = {name: value for name, value in shapes.metrics.items() if name != "num_foreground"}
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes.params, losses))
    (batch_stats, sums, num_foreground), _ = jax.lax.scan(
        add, (state.batch_stats, zeros, jnp.zeros((), jnp.float32)), microbatches
    )
    gradients, losses = jax.tree.map(lambda x: x / jnp.maximum(num_foreground, 1.0), sums)
    return Gradients(gradients, batch_stats, {**losses, "num_foreground": num_foreground})


def _sum_over_devices(share: Gradients, num_devices: int) -> Gradients:
    """Sums the shares of all devices in one `psum`, which XLA turns into one collective or a few."""
    losses = dict(share.metrics)
    num_foreground = losses.pop("num_foreground")  # already a sum over the devices
    batch_stats = jax.tree.map(lambda x: x / num_devices, share.batch_stats)
    gradients, batch_stats, losses = jax.lax.psum((share.params, batch_stats, losses), DATA_AXIS)
    return Gradients(gradients, batch_stats, {**losses, "num_foreground": num_foreground})
