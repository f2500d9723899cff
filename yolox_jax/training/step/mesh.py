"""The device mesh of a run: one axis, `data`, over which each batch is sharded."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from yolox_jax.config import ConfigError, TrainConfig

DATA_AXIS = "data"


def create_mesh(config: TrainConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The devices on one axis, those of each process next to each other.

    Args:
        config: the batch size, which the devices must divide.
        devices: by default, all devices of all processes.

    Raises:
        ConfigError: the batch size is not divisible by the number of devices times `accumulation_steps`.
    """
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    shares = len(devices) * config.accumulation_steps
    if config.batch_size % shares:
        below = config.batch_size // shares * shares
        fits = [size for size in (below, below + shares) if size > 0]
        over = f"{len(devices)} device{'s' * (len(devices) > 1)}"
        if config.accumulation_steps > 1:
            over += f" times --train.accumulation-steps {config.accumulation_steps}"
        raise ConfigError(
            f"--train.batch-size {config.batch_size} cannot be divided evenly among {over}. "
            f"Use a batch size of {' or '.join(map(str, fits))}"
        )
    return Mesh(np.asarray(devices), (DATA_AXIS,))


def platform_of(mesh: Mesh) -> str:
    """What the devices are: `cpu`, `gpu` or `tpu`. Those of a mesh to compile for need not be jax's default backend."""
    platform: str = mesh.devices.flat[0].platform
    return platform


def split_over_devices(mesh: Mesh) -> NamedSharding:
    """Sharding of a batch: split along its first axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of the train state: replicated on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows_of_this_process(mesh: Mesh, batch_size: int) -> range:
    """The rows of each batch that this process loads: those of its own devices."""
    per_device = batch_size // mesh.size
    local = [index for index, device in enumerate(mesh.devices) if device.process_index == jax.process_index()]
    return range(local[0] * per_device, (local[-1] + 1) * per_device)


def to_devices(rows: PyTree, sharding: NamedSharding) -> PyTree:
    """A global batch on the devices, assembled from the rows that each process loaded."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), rows)
