"""Builds the network, optimizer, schedule and jitted step of a config, for training and for benchmarks."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Shaped

from yolox_jax.models import create_model, summarize
from yolox_jax.models.summary import Summary
from yolox_jax.text import counted
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh, platform_of, replicated
from yolox_jax.training.step.state import TrainState, create_train_state
from yolox_jax.training.step.step import TrainStep, make_train_step

logger = logging.getLogger("yolox_jax.training")


class Training(NamedTuple):
    """The components of a training run, built from its config."""

    schedule: RunSchedule
    mesh: Mesh
    graphdef: nnx.GraphDef
    """Structure of the model in training mode."""
    summary: Summary
    """Parameters and GFLOPs at `data.input_size`, including frozen parts."""
    state: TrainState
    """Replicated over the mesh; the step donates it."""
    step: TrainStep
    """`step(state, batch, scalars, size) -> (state, metrics)`, jitted."""


def build_training(
    schedule: RunSchedule,
    num_classes: int,
    *,
    weights: Mapping[str, Shaped[np.ndarray, "..."]] | None = None,
    described: Sequence[jax.Device] | None = None,
) -> Training:
    """Builds all components of a run from its config, with the state at step 0.

    Args:
        schedule: the config, and the number of steps in an epoch, which the learning rate depends on.
        num_classes: number of classes in the dataset.
        weights: state dict under the original's names to start from. Tensors that are missing or have another shape
            keep their initial values.
        described: devices that are not there, to compile for. `Training.state` then holds shapes instead of arrays. By
            default, the run uses all devices that are there.

    Raises:
        ConfigError: the devices do not divide the batch, or `model.freeze` matches nothing or everything.
    """
    config, mesh = schedule.config, create_mesh(schedule.config.train, described)
    model = create_model(
        config.model,
        num_classes,
        channels=config.data.channels,
        seed=config.seed,
        dtype=jnp.dtype(config.train.precision),
    )
    # Imported on demand, so that the step can be benchmarked where only jax, flax and optax are installed.
    random: tuple[str, ...] = ()
    if weights is not None:
        from yolox_jax.weights import load_state_dict

        report = load_state_dict(model, weights, strict=False)
        random = report.missing
        logger.info("%s: %s", config.model.weights, report.summary())
    model.train()
    summary = summarize(model, config.data.input_size)
    if config.model.freeze:
        from yolox_jax.training.freezing import freeze

        frozen = freeze(model, config.model.freeze)
        logger.info("frozen: %s", frozen)
        _warn_of_random(sorted(frozen.names.intersection(random)))
    on_gpu = platform_of(mesh) == "gpu"  # where cuDNN wants kernels with the output channels first
    graphdef, state = create_train_state(model, config.train, config.optimizer, output_first=on_gpu)
    if described is None:
        # Replicated from the host, because arrays on one device cannot be copied to the devices of other processes.
        state = jax.device_put(jax.device_get(state), replicated(mesh))
    else:
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), state)
    step = make_train_step(graphdef, config, mesh)
    return Training(schedule, mesh, graphdef, summary, state, step)


def _warn_of_random(frozen: Sequence[str]) -> None:
    """Warns of frozen arrays that the weights do not hold, such as those of new levels or classes."""
    if frozen:
        modules = dict.fromkeys(".".join(name.split(".")[:2]) for name in frozen)
        logger.warning(
            "--model.freeze keeps %s at random values, because --model.weights has none that fit: %s. Name the modules "
            "to freeze, without these",
            counted(len(frozen), "tensor"),
            ", ".join(modules),
        )
