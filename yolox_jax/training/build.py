"""Builds the network, optimizer, schedule and jitted step of a config, for training and for benchmarks."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Shaped

from yolox_jax.config import Config
from yolox_jax.models import create_model
from yolox_jax.text import shortened
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh, replicated
from yolox_jax.training.step.optimizer import sgd
from yolox_jax.training.step.state import TrainState, create_train_state
from yolox_jax.training.step.step import TrainStep, make_train_step

logger = logging.getLogger("yolox_jax.training")


class Training(NamedTuple):
    """The components of a training run, built from its config."""

    schedule: RunSchedule
    mesh: Mesh
    graphdef: nnx.GraphDef
    """Structure of the model in training mode."""
    optimizer: optax.GradientTransformationExtraArgs
    state: TrainState
    """Replicated over the mesh; the step donates it."""
    step: TrainStep
    """`step(state, batch, l1_weight, size) -> (state, metrics)`, jitted."""


def build_training(
    config: Config,
    num_classes: int,
    *,
    steps_per_epoch: int,
    weights: Mapping[str, Shaped[np.ndarray, "..."]] | None = None,
) -> Training:
    """Builds all components of a run from its config, with the state at step 0.

    Args:
        config: the config of the run.
        num_classes: number of classes in the dataset.
        steps_per_epoch: training steps in one epoch, which the learning-rate schedule depends on.
        weights: state dict to start from, with the original's names. Tensors that are missing or have another shape
            keep their initial values.

    Raises:
        ConfigError: the devices do not divide the batch, or `model.freeze` matches nothing or everything.
    """
    mesh = create_mesh(config.train)
    model = create_model(config.model, num_classes, seed=config.seed, dtype=jnp.dtype(config.train.precision))
    # Imported on demand, so that the step can be benchmarked where only jax, flax and optax are installed.
    if weights is not None:
        from yolox_jax.weights import load_state_dict

        report = load_state_dict(model, weights, strict=False)
        logger.info("loaded %d tensors from %s", len(report.loaded), config.model.weights)
        if report.skipped:
            logger.info("skipped tensors with another name or shape: %s", shortened(report.skipped, 6))
        if report.missing:
            logger.info("kept at their random initialization: %s", shortened(report.missing, 6))
    model.train()
    if config.model.freeze:
        from yolox_jax.training.freezing import freeze

        logger.info("froze %d weights and statistics", freeze(model, config.model.freeze))
    schedule = RunSchedule(config, steps_per_epoch)
    optimizer = sgd(config.optimizer, schedule.learning_rate)
    graphdef, state = create_train_state(model, optimizer, config.train)
    # Replicated from the host, because arrays on one device cannot be copied to the devices of other processes.
    state = jax.device_put(jax.device_get(state), replicated(mesh))
    return Training(schedule, mesh, graphdef, optimizer, state, make_train_step(graphdef, optimizer, config, mesh))
