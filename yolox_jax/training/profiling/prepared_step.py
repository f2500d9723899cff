"""A training step built from a config alone, and run on random data or compiled for devices that are not there."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from yolox_jax.config import Config
from yolox_jax.data.batch_form import batch_form
from yolox_jax.training.build import build_training
from yolox_jax.training.compilation import batch_like
from yolox_jax.training.profiling.described_devices import compile_described
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.profiling.memory import needed_bytes, refused_bytes
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import split_over_devices, to_devices
from yolox_jax.training.step.multiscale import size_of

OBJECTS = 50
STEPS_PER_EPOCH = 1000
"""Affects the learning rate only."""


class PreparedStep:
    """The training step of a config, without a dataset.

    Args:
        config: the config; its datasets are not used.
        num_classes: number of classes of the network.
        described: devices to compile for, such as those of `described_devices`, which are not there; the step cannot be
            run. By default, all devices that are there.
    """

    def __init__(self, config: Config, num_classes: int, described: Sequence[jax.Device] | None = None) -> None:
        self.config = config
        self.num_classes = num_classes
        self.training = build_training(RunSchedule(config, STEPS_PER_EPOCH), num_classes, described=described)
        self._is_elsewhere = described is not None and described[0] not in jax.devices()
        self._sharding = split_over_devices(self.training.mesh)

    def lower(self, size: tuple[int, int]) -> jax.stages.Lowered:
        """Lowers the step for an input size (height, width in px), ready to compile."""
        batch = batch_like(self.config, self._sharding)
        lowered: jax.stages.Lowered = self.training.step.lower(  # type: ignore[attr-defined]
            self.training.state, batch, self.training.schedule.scalars_at(0), size=size
        )
        return lowered

    def compile(self, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
        """Compiles what `lower` returned."""
        if self._is_elsewhere:
            return compile_described(lowered)
        return lowered.compile()

    def needed_bytes(self, size: tuple[int, int]) -> int:
        """Compiles the step for an input size, and returns the memory that it needs on each device.

        That is known even if the compiler refuses a step that is too large.
        """
        try:
            return needed_bytes(self.compile(self.lower(size)))
        except jax.errors.JaxRuntimeError as error:
            needed = refused_bytes(str(error))
            if needed is None:
                raise
            return needed

    def runner(self, compiled: jax.stages.Compiled) -> Callable[[], Any]:
        """Returns a function that runs one step on a random batch and returns the loss, an array on the device."""
        config, form = self.config, batch_form(self.config.data)
        batch = to_devices(
            fake_batch(
                config.train.batch_size,
                config.data.input_size,
                objects=min(OBJECTS, config.data.max_boxes),
                num_classes=self.num_classes,
                slots=config.data.max_boxes,
                channels=config.data.channels,
                bits=config.data.bits,
                sources=form["sources"].shape[0] if "sources" in form else 0,
                members=form["members"].shape[0] if "members" in form else 0,
            ),
            self._sharding,
        )
        scalars = self.training.schedule.scalars_at(0)
        state = jax.tree.map(jnp.copy, self.training.state)  # the step donates it

        def run() -> Any:
            nonlocal state
            state, metrics = compiled(state, batch, scalars)
            return metrics["loss"]

        return run


def largest_size(config: Config) -> tuple[int, int]:
    """The largest input size that a config trains at: height and width in px."""
    if config.train.multiscale_px is None:
        return config.data.input_size
    return size_of(config.train.multiscale_px[1], config.data.input_size, config.model.strides[-1])
