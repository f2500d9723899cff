"""Finds the batch size of a run by itself: the largest that fits into the memory of the devices."""

import dataclasses
import math
import sys

import jax

from yolox_jax.config import Config, ConfigError
from yolox_jax.text import counted
from yolox_jax.training.distributed import agree, on_every_process
from yolox_jax.training.profiling.cards import GIB
from yolox_jax.training.profiling.memory import largest_batch, limit_bytes
from yolox_jax.training.profiling.prepared_step import PreparedStep, largest_size

MOST_ON_CPU = 16
"""Largest batch size on CPUs, where larger batches do not make training faster."""

CPU_SHARE = 0.5
"""Share of the main memory for the step on CPUs; the rest is for loading images and for other programs."""

FEWEST_STEPS = 10
"""Least number of steps in an epoch: a small dataset does not become a few steps of large batches."""

MULTIPLE = 8
"""Batch sizes are multiples of this if they can be, as matrix units want it."""


def with_batch_size(config: Config, batch_size: int) -> Config:
    """The config with another batch size."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=batch_size))


def smallest_batch_size(config: Config) -> int:
    """The smallest batch size of a config on the devices of this run: one image for each share."""
    return jax.device_count() * config.train.accumulation_steps


def fitting_batch_size(config: Config, num_classes: int, num_images: int) -> int:
    """The largest batch size whose training step fits the devices, the same on all processes.

    The compiler tells the memory of a step, as for `yolox-jax memory`; nothing is run. Each process compiles for one of
    its own devices, because they all hold the same state and shares of the same size.

    Args:
        config: config of the run; its batch size is not used.
        num_classes: number of classes of the network.
        num_images: number of training images.

    Raises:
        ConfigError: not even one image for each share fits, or the devices do not report their memory.
    """
    shares = smallest_batch_size(config)
    # But no single images, whose batch statistics would be those of one.
    most = max(num_images // FEWEST_STEPS, min(num_images, MULTIPLE), shares)
    if jax.default_backend() == "cpu":
        most = max(min(most, MOST_ON_CPU), shares)
    most = rounded(most, shares)
    images = -agree(-on_every_process(lambda: _fitting_share(config, num_classes, most // shares)))
    return rounded(images * shares, shares)


def rounded(batch_size: int, shares: int) -> int:
    """Rounds a batch size down to what the shares divide, and to a multiple of 8 if that leaves any.

    >>> rounded(100, 3), rounded(10, 3), rounded(7, 1)
    (96, 9, 7)
    """
    multiple = math.lcm(MULTIPLE, shares)
    return batch_size // multiple * multiple or batch_size // shares * shares


def _fitting_share(config: Config, num_classes: int, most: int) -> int:
    """The largest number of images, at most `most`, of a device at a time that fits into its memory."""
    device, size, parts = jax.local_devices()[0], largest_size(config), config.train.accumulation_steps
    limit = limit_bytes()
    if limit is None:
        raise ConfigError("--train.batch-size auto: the device does not report its memory. Pass a number")
    if device.platform == "cpu":
        limit = int(CPU_SHARE * limit)

    def needed_at(images: int) -> int:
        if jax.process_index() == 0:
            about = f"compiling for {counted(images, 'image')} a device at {size[0]}x{size[1]} px"
            print(f"--train.batch-size auto: {about}", file=sys.stderr, flush=True)
        return PreparedStep(with_batch_size(config, images * parts), num_classes, [device]).needed_bytes(size)

    if needed_at(most) <= limit:
        return most
    found = min(largest_batch(needed_at, limit, 1)[0], most)
    if not found:
        raise ConfigError(
            f"--train.batch-size auto: not even one image fits into {limit / GIB:.1f} GiB. Try --train.rematerialise "
            "stage, half precision or smaller inputs"
        )
    return found
