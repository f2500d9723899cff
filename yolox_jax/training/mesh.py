"""The devices of a run as one axis, `data`, over which each batch is split."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from yolox_jax.config import ConfigError

DATA_AXIS = "data"


def create_mesh(batch_size: int) -> Mesh:
    """All devices in a row.

    Raises:
        ConfigError: the devices do not divide the batch.
    """
    devices = jax.devices()
    if batch_size % len(devices):
        below = batch_size // len(devices) * len(devices)
        fits = [size for size in (below, below + len(devices)) if size > 0]
        raise ConfigError(
            f"--train.batch-size {batch_size} cannot be split evenly over {len(devices)} devices; "
            f"use {' or '.join(map(str, fits))}"
        )
    return Mesh(np.asarray(devices), (DATA_AXIS,))


def split_over_devices(mesh: Mesh) -> NamedSharding:
    """How a batch lies on the devices: split along its first axis."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """How the state lies on the devices: whole on each."""
    return NamedSharding(mesh, PartitionSpec())
