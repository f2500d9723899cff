"""`yolox-jax memory`: what a training step needs, and the largest batch that fits, asked of the compiler."""

import dataclasses
import math
import sys

from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class MemoryArguments:
    """What to compare with."""

    limit_gib: float | None = None
    """Memory of a device in GiB. Not given: what programs may use of the first one."""
    num_classes: int = 80
    """Classes that the network tells apart."""


def main(argv: list[str]) -> None:
    """Compiles and prints; `argv` is the command line after `memory`."""
    arguments, config = parse_with_config(
        MemoryArguments,
        argv,
        prog="yolox-jax memory",
        description="Ask the compiler what a training step needs at the largest input size of the config, and find the "
        "largest batch that fits. Nothing is trained, and no data is needed.",
    )
    # Here, so that the help and wrong flags are answered before jax is loaded.
    import jax
    from rich.console import Console
    from rich.table import Table

    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.training.profiling.memory import GIB, largest_batch, needed_bytes
    from yolox_jax.training.profiling.prepared_step import PreparedStep, largest_size

    keep_compiled()
    limit = _limit_bytes(arguments.limit_gib)
    size = largest_size(config)

    def needed_at(batch: int) -> int:
        print(f"compiling for batch {batch} at {size[0]}x{size[1]} px ...", file=sys.stderr, flush=True)
        train = dataclasses.replace(config.train, batch_size=batch)
        step = PreparedStep(dataclasses.replace(config, train=train), arguments.num_classes)
        return needed_bytes(step.lower(size).compile())

    shares = jax.device_count() * config.train.accumulation_steps
    batch, found = largest_batch(needed_at, limit, shares)
    if (asked := config.train.batch_size) not in found and asked % shares == 0:
        found[asked] = needed_at(asked)
    device = jax.devices()[0].device_kind
    print(
        f"{config.model.variant} in {config.train.precision} at {size[0]}x{size[1]} px, "
        f"{jax.device_count()} device(s) of kind {device}, {limit / GIB:.1f} GiB each"
    )
    table = Table("batch", "GiB on each device", "fits")
    for asked, needed in sorted(found.items()):
        table.add_row(str(asked), f"{needed / GIB:.2f}", "yes" if needed <= limit else "no")
    Console().print(table)
    if not batch:
        raise ConfigError(
            f"not even a batch of {shares} fits; --train.rematerialise stage, half precision or a smaller input help"
        )
    power = 1 << (batch.bit_length() - 1)
    print(f"largest batch that fits: {batch}" + f"; largest power of two: {power}" * (power % shares == 0))


def _limit_bytes(limit_gib: float | None) -> int:
    from yolox_jax.training.profiling.memory import GIB, limit_bytes

    if limit_gib is not None:
        if not 0 < limit_gib < math.inf:
            raise ConfigError(f"--limit-gib {limit_gib} is no size of a memory; give a number above 0")
        return int(limit_gib * GIB)
    limit = limit_bytes()
    if limit is None:
        raise ConfigError("the device does not say how much memory it has: give --limit-gib")
    return limit
