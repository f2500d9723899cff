"""A training step about to be taken, with a learning rate of the test's own; `build_training` is what a run uses."""

import jax
import numpy as np
from flax import nnx

from yolox_jax.config import Config
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh, replicated
from yolox_jax.training.step.scalars import StepScalars
from yolox_jax.training.step.state import TrainState, create_train_state
from yolox_jax.training.step.step import TrainStep, make_train_step


def started(config: Config, model: nnx.Module) -> tuple[nnx.GraphDef, TrainState, TrainStep]:
    """The structure, the state (replicated over all devices) and the step of a run that starts from `model`."""
    model.train()
    mesh = create_mesh(config.train)
    graphdef, state = create_train_state(model, config.train, config.optimizer)
    return graphdef, jax.device_put(state, replicated(mesh)), make_train_step(graphdef, config, mesh)


def scalars_at(config: Config, number: int, learning_rate: float, l1_weight: float = 0.0) -> StepScalars:
    """What a step takes at that number, apart from the learning rate and the weight of the L1 loss."""
    scalars = RunSchedule(config, steps_per_epoch=1).scalars_at(number)
    return scalars._replace(
        learning_rate=np.float32(learning_rate), loss=scalars.loss._replace(l1_weight=np.float32(l1_weight))
    )
