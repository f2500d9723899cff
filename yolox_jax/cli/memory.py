"""`yolox-jax memory`: the memory a training step needs, and the largest batch that fits, according to the compiler."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import tyro

from yolox_jax.cli.settings import parse_with_config
from yolox_jax.cli.settings_help import STEP_SETTINGS
from yolox_jax.config import ConfigError
from yolox_jax.config.checks import check_multiscale_range
from yolox_jax.text import counted

if TYPE_CHECKING:
    import jax

USED_SETTINGS = (*STEP_SETTINGS, "train.multiscale_px")


@dataclasses.dataclass(frozen=True)
class MemoryArguments:
    """The devices to compile for, and the memory to fit into."""

    device: Annotated[str | None, tyro.conf.arg(metavar="CARD")] = None
    """Compile for an accelerator that need not be in this machine: a100, h100, h200, v100, or TPU chips and their
    arrangement, such as v4:2x2x1, v5e:2x2, v5p:2x2x1 or v6e:2x2. By default, the devices of this machine. GPUs need
    `pip install 'yolox-jax[deviceless]'`, TPUs `pip install 'yolox-jax[tpu]'`."""
    devices: int | None = None
    """Number of GPUs of the kind of `--device`. The default is 1."""
    limit_gib: float | None = None
    """Memory per device in GiB. By default, the memory available to programs on the first device."""
    num_classes: int = 80
    """Number of classes of the network."""


def main(argv: list[str]) -> None:
    """Compiles the step and prints the figures; `argv` is the command line after `memory`."""
    arguments, config = parse_with_config(
        MemoryArguments,
        argv,
        prog="yolox-jax memory",
        description="Find the largest batch size that fits on a device, from the memory that the compiler reports for "
        "the training step at the largest input size of the config. Nothing is trained, and no data is needed. "
        "With --device, the device need not be there.",
        uses=USED_SETTINGS,
    )
    if arguments.num_classes < 1:
        raise ConfigError(f"--num-classes must be at least 1, got {arguments.num_classes}")
    if arguments.devices is not None and arguments.device is None:
        raise ConfigError("--devices needs --device, the kind of GPU; without it, the devices of this machine count")
    check_multiscale_range(config)
    # Imported here, so that --help and errors in flags do not wait for jax.
    from rich.console import Console
    from rich.table import Table

    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.training.profiling.cards import GIB
    from yolox_jax.training.profiling.memory import largest_batch
    from yolox_jax.training.profiling.prepared_step import PreparedStep, largest_size

    keep_compiled()
    target, size = _target(arguments), largest_size(config)

    def needed_at(batch: int) -> int:
        print(f"compiling for batch size {batch} at {size[0]}x{size[1]} px ...", file=sys.stderr, flush=True)
        train = dataclasses.replace(config.train, batch_size=batch)
        step = PreparedStep(dataclasses.replace(config, train=train), arguments.num_classes, target.described)
        return step.needed_bytes(size)

    shares = target.num_devices * config.train.accumulation_steps
    largest, bytes_of_batch = largest_batch(needed_at, target.limit, shares)
    if (configured := config.train.batch_size) not in bytes_of_batch and configured % shares == 0:
        bytes_of_batch[configured] = needed_at(configured)
    print(
        f"{config.model.variant} in {config.train.precision} at {size[0]}x{size[1]} px, "
        f"{counted(target.num_devices, 'device')} ({target.name}) with {target.limit / GIB:.1f} GiB each"
    )
    table = Table("batch size", "GiB per device", "fits")
    for batch, needed in sorted(bytes_of_batch.items()):
        table.add_row(str(batch), f"{needed / GIB:.2f}", "yes" if needed <= target.limit else "no")
    Console().print(table)
    if not largest:
        raise ConfigError(
            f"not even a batch of {shares} fits. Try --train.rematerialise stage, half precision or smaller inputs"
        )
    power = 1 << (largest.bit_length() - 1)
    print(f"largest batch that fits: {largest}" + f"; largest power of two: {power}" * (power % shares == 0))


class _Target(NamedTuple):
    """The devices that the step is compiled for."""

    name: str
    num_devices: int
    limit: int
    """Bytes available on each of them."""
    described: "Sequence[jax.Device] | None"
    """None for the devices of this machine."""


def _target(arguments: MemoryArguments) -> _Target:
    import jax

    from yolox_jax.training.profiling.cards import GIB
    from yolox_jax.training.profiling.described_devices import described_devices
    from yolox_jax.training.profiling.memory import limit_bytes

    given = None
    if arguments.limit_gib is not None:
        if not 0 < arguments.limit_gib < math.inf:
            raise ConfigError(f"--limit-gib must be finite and above 0, got {arguments.limit_gib}")
        given = int(arguments.limit_gib * GIB)
    if arguments.device is not None:
        card, devices = described_devices(arguments.device, arguments.devices)
        return _Target(card.name, len(devices), card.program_bytes if given is None else given, devices)
    limit = limit_bytes() if given is None else given
    if limit is None:
        raise ConfigError("the device does not report its memory; pass --limit-gib")
    return _Target(jax.devices()[0].device_kind, jax.device_count(), limit, None)
