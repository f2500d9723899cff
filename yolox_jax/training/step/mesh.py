"""The devices of a run as one axis, `data`, over which each batch is split."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from yolox_jax.config import ConfigError, TrainConfig

DATA_AXIS = "data"


def create_mesh(config: TrainConfig) -> Mesh:
    """All devices of all processes in a row, those of one process side by side.

    Raises:
        ConfigError: the devices, with the parts that each splits its images into, do not divide the batch.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    shares = len(devices) * config.accumulation_steps
    if config.batch_size % shares:
        below = config.batch_size // shares * shares
        fits = [size for size in (below, below + shares) if size > 0]
        over = f"{len(devices)} device{'s' * (len(devices) > 1)}"
        if config.accumulation_steps > 1:
            over += f" times --train.accumulation-steps {config.accumulation_steps}"
        raise ConfigError(
            f"--train.batch-size {config.batch_size} cannot be split evenly over {over}; "
            f"use a batch size of {' or '.join(map(str, fits))}"
        )
    return Mesh(np.asarray(devices), (DATA_AXIS,))


def split_over_devices(mesh: Mesh) -> NamedSharding:
    """How a batch lies on the devices: split along its first axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """How the state lies on the devices: whole on each."""
    return NamedSharding(mesh, PartitionSpec())


def rows_of_this_process(mesh: Mesh, batch_size: int) -> range:
    """Which images of each batch this process loads: those of its own devices."""
    per_device = batch_size // mesh.size
    mine = [place for place, device in enumerate(mesh.devices) if device.process_index == jax.process_index()]
    return range(mine[0] * per_device, (mine[-1] + 1) * per_device)


def to_devices(rows: PyTree, sharding: NamedSharding) -> PyTree:
    """A batch on the devices, from the rows of it that each process holds."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
