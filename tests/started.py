"""A training step about to be taken, with a learning rate of the test's own; `build_training` is what a run uses."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from yolox_jax.config import Config
from yolox_jax.models import YOLOX
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh, replicated
from yolox_jax.training.step.optimizer import sgd
from yolox_jax.training.step.state import TrainState, create_train_state
from yolox_jax.training.step.step import TrainStep, make_train_step


def started(
    config: Config, model: YOLOX, learning_rate: Callable[[Any], Any]
) -> tuple[nnx.GraphDef, TrainState, TrainStep]:
    """The structure, the state (replicated over all devices) and the step of a run that starts from `model`."""
    model.train()
    mesh = create_mesh(config.train)
    optimizer = sgd(config.optimizer, learning_rate)
    graphdef, state = create_train_state(model, optimizer, config.train)
    ema_decay = RunSchedule(config, steps_per_epoch=1).ema_decay
    step = make_train_step(graphdef, optimizer, ema_decay, config, mesh)
    return graphdef, jax.device_put(state, replicated(mesh)), step
