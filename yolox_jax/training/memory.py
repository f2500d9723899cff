"""Device memory: what a compiled step needs, what to do where that is too much, and the largest batch that fits."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import psutil

from yolox_jax.config import Config, ConfigError
from yolox_jax.training.state import TrainState

GIB = 2**30


def needed_bytes(compiled: jax.stages.Compiled) -> int:
    """What a program holds on each device while it runs: arguments, results and all between."""
    memory: Any = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held + memory.temp_size_in_bytes


def limit_bytes() -> int | None:
    """What programs may use of this process's first device; of a CPU its share of the memory of this machine."""
    first = jax.local_devices()[0]
    if first.platform == "cpu":
        return psutil.virtual_memory().total // jax.local_device_count()
    return (first.memory_stats() or {}).get("bytes_limit")


def lasting_bytes(state: TrainState) -> int:
    """What a step needs whatever the batch: its state, and the gradients."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves((state, state.params)))


def check_fits(compiled: jax.stages.Compiled, lasting: int, config: Config, size: tuple[int, int]) -> None:
    """Compares what a step needs with what there is, before it runs.

    Args:
        compiled: the step for `size`.
        lasting: from `lasting_bytes`.
        config: the run's.
        size: height and width of the input in px.

    Raises:
        ConfigError: it does not fit; the message says what was asked for, about which batch fits, and what helps.
    """
    needed, limit = needed_bytes(compiled), limit_bytes()
    if limit is None or needed <= limit:
        return
    shares = jax.device_count() * config.train.accumulation_steps
    images = config.train.batch_size // shares
    fits = max(int(images * (limit - lasting) / max(needed - lasting, 1)), 0) * shares
    about = f"about --train.batch-size {fits} fits" if fits else "not even one image fits"
    raise ConfigError(
        f"the step needs {needed / GIB:.1f} GiB on each device, which has {limit / GIB:.1f} GiB: {_asked(config)} at "
        f"{size[0]}x{size[1]} px; {about} as it is. {_help(config)}"
    )


@contextlib.contextmanager
def out_of_memory_explained(config: Config) -> Iterator[None]:
    """Around training: where a device runs out of memory after all, an error that says what helps."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"a device ran out of memory with {_asked(config)}. {_help(config)} ({reason})") from error


def largest_batch(needed_at: Callable[[int], int], limit: int, step: int) -> tuple[int, dict[int, int]]:
    """The largest batch that fits, and what was found on the way.

    Args:
        needed_at: bytes that a batch needs, which grow about in proportion; each call compiles.
        limit: bytes there are.
        step: batches are multiples of it.

    Returns:
        The batch, 0 if none fits; and the bytes of each batch that was asked for.
    """
    found = {step * times: needed_at(step * times) for times in (1, 4)}
    first, second = found.values()
    if first > limit:
        return 0, found
    per_step = max((second - first) / 3, 1.0)
    batch = step * (1 + int((limit - first) / per_step))
    while True:
        if batch not in found:
            found[batch] = needed_at(batch)
        if found[batch] <= limit:
            return batch, found
        # What does not fit is an eighth too much at most, by the line through what was found.
        over = math.ceil((found[batch] - limit) / per_step)
        batch = max(batch - step * over, step)


def _asked(config: Config) -> str:
    parts = f" in {config.train.accumulation_steps} parts" if config.train.accumulation_steps > 1 else ""
    return (
        f"{config.model.variant} in {config.train.precision} with --train.batch-size {config.train.batch_size}{parts} "
        f"on {jax.device_count()} device{'s' * (jax.device_count() > 1)}"
    )


def _help(config: Config) -> str:
    """Settings that need less memory and are not in use yet."""
    ways = ["a smaller --train.batch-size", f"--train.accumulation-steps {2 * config.train.accumulation_steps}"]
    if config.train.rematerialise == "none":
        ways.append("--train.rematerialise stage")
    if config.train.precision == "float32" and jax.default_backend() != "cpu":
        ways.append("--train.precision bfloat16")
    if config.train.multiscale_px is not None:
        ways.append("a lower upper end of --train.multiscale-px")
    return f"These help: {', '.join(ways)}. `yolox-jax memory` finds the largest batch"
