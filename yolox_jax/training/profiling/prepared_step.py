"""A training step made from a config alone, without data: to be measured, not to train with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from yolox_jax.config import Config
from yolox_jax.models import create_model
from yolox_jax.training.compilation import batch_like
from yolox_jax.training.freezing import freeze
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.run_schedule import Plan
from yolox_jax.training.step.mesh import create_mesh, replicated, split_over_devices, to_devices
from yolox_jax.training.step.multiscale import size_of
from yolox_jax.training.step.optimizer import sgd
from yolox_jax.training.step.state import create_train_state
from yolox_jax.training.step.step import make_train_step

OBJECTS = 50
STEPS_PER_EPOCH = 1000
"""As if; the learning rate follows from it alone."""


class PreparedStep:
    """Network, optimizer and step of a config, as training makes them."""

    def __init__(self, config: Config, num_classes: int) -> None:
        self.config = config
        self.num_classes = num_classes
        model = create_model(
            config.model.variant, num_classes, seed=config.seed, dtype=jnp.dtype(config.train.precision)
        )
        model.train()
        freeze(model, config.model.freeze)
        self._mesh = create_mesh(config.train)
        optimizer = sgd(config.optimizer, Plan(config, STEPS_PER_EPOCH).learning_rate)
        graphdef, state = create_train_state(model, optimizer, config.train)
        self._state = jax.device_put(state, replicated(self._mesh))
        self._step = make_train_step(graphdef, optimizer, config, self._mesh)

    def lower(self, size: tuple[int, int]) -> jax.stages.Lowered:
        """The step for an input size (height, width in px), ready to be compiled."""
        batch = batch_like(self.config, split_over_devices(self._mesh))
        lowered: jax.stages.Lowered = self._step.lower(  # type: ignore[attr-defined]
            self._state, batch, np.float32(0), size=size
        )
        return lowered

    def runner(self, compiled: jax.stages.Compiled) -> Callable[[], Any]:
        """A function that takes one step on a made-up batch that lies on the devices, and gives its loss there."""
        config = self.config
        batch = to_devices(
            fake_batch(
                config.train.batch_size,
                config.data.input_size,
                objects=min(OBJECTS, config.data.max_boxes),
                num_classes=self.num_classes,
                slots=config.data.max_boxes,
            ),
            split_over_devices(self._mesh),
        )
        state = [jax.tree.map(jnp.copy, self._state)]  # the step takes it over

        def run() -> Any:
            state[0], metrics = compiled(state[0], batch, np.float32(0))
            return metrics["loss"]

        return run


def largest_size(config: Config) -> tuple[int, int]:
    """The largest input that a config trains on: height and width in px."""
    if config.train.multiscale_px is None:
        return config.data.input_size
    return size_of(config.train.multiscale_px[1], config.data.input_size)
