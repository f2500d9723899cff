"""Device memory: how much a compiled step needs, how to reduce it, and the largest batch that fits."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import psutil

from yolox_jax.config import Config, ConfigError
from yolox_jax.training.profiling.cards import GIB
from yolox_jax.training.step.state import TrainState

WORTH_ASKING = 1.1
"""Batch sizes are tried only if they exceed the best one so far by more than this factor."""


def needed_bytes(compiled: jax.stages.Compiled) -> int:
    """Memory that a program needs on each device while it runs: arguments, results and temporaries."""
    memory: Any = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held + memory.temp_size_in_bytes


def refused_bytes(message: str) -> int | None:
    """The memory that a program needs, from the message of a compiler that refuses it for that; None for others.

    The compiler for TPUs refuses programs that are too large; those for other platforms compile them.
    """
    found = re.search(r"RESOURCE_EXHAUSTED.*?(?:\(|Used )([\d.]+)([KMG])", message, re.DOTALL)
    return int(float(found[1]) * 1024 ** (1 + "KMG".index(found[2]))) if found else None


def limit_bytes() -> int | None:
    """Memory available to programs on the first device of this process; on a CPU, its share of the main memory."""
    first = jax.local_devices()[0]
    if first.platform == "cpu":
        return psutil.virtual_memory().total // jax.local_device_count()
    return (first.memory_stats() or {}).get("bytes_limit")


def lasting_bytes(state: TrainState) -> int:
    """Memory that a step needs at any batch size: its state and the gradients."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves((state, state.params)))


def check_fits(compiled: jax.stages.Compiled, lasting: int, config: Config, size: tuple[int, int]) -> None:
    """Compares the memory that a step needs with what is available, before it runs.

    Args:
        compiled: the step for `size`.
        lasting: from `lasting_bytes`.
        config: the config of the run.
        size: height and width of the input in px.

    Raises:
        ConfigError: the step does not fit. The message suggests a batch size and settings that save memory.
    """
    needed, limit = needed_bytes(compiled), limit_bytes()
    if limit is None or needed <= limit:
        return
    shares = jax.device_count() * config.train.accumulation_steps
    images = config.train.batch_size // shares
    fits = max(int(images * (limit - lasting) / max(needed - lasting, 1)), 0) * shares
    about = f"about --train.batch-size {fits} would fit" if fits else "not even one image fits"
    raise ConfigError(
        f"out of memory: the step needs {needed / GIB:.1f} GiB on each device, which has {limit / GIB:.1f} GiB, for "
        f"{_workload(config)} at {size[0]}x{size[1]} px; {about} with these settings. {_help(config)}"
    )


@contextlib.contextmanager
def out_of_memory_explained(config: Config, *, evaluating: bool = False) -> Iterator[None]:
    """Turns a device out-of-memory error into a ConfigError that says which settings save memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        what = f"a device ran out of memory with {_workload(config)}. {_help(config)}"
        if evaluating:
            size = config.evaluation.batch_size
            what = f"a device ran out of memory while evaluating. Use an --evaluation.batch-size below {size}"
        raise ConfigError(f"{what} ({reason})") from error


def largest_batch(
    needed_at: Callable[[int], int], limit: int, step: int, second: int = 4
) -> tuple[int, dict[int, int]]:
    """Finds the largest batch size that fits.

    Args:
        needed_at: returns the bytes needed at a batch size, roughly a linear function of it. Each call compiles.
        limit: available bytes.
        step: only multiples of this batch size are tried.
        second: the multiple that is tried after the first one, more than 1.

    Returns:
        The batch size (0 if none fits), and the bytes that each tried batch size needs.
    """
    tried = {step * times: needed_at(step * times) for times in (1, second)}
    first = tried[step]
    if first > limit:
        return 0, tried
    per_step = max((tried[step * second] - first) / (second - 1), 1.0)
    guess = step * (1 + int((limit - first) / per_step))
    while True:
        if guess not in tried:
            tried[guess] = needed_at(guess)
        fitting = sorted(batch for batch, needed in tried.items() if needed <= limit)
        best = fitting[-1]
        if tried[guess] > limit:
            # Step down by the excess, according to the line through the sizes tried.
            guess -= step * math.ceil((tried[guess] - limit) / per_step)
        elif len(fitting) > 1:
            # Memory may grow more slowly for larger batches, for instance if an algorithm needs a fixed workspace.
            slope = max((tried[best] - tried[fitting[-2]]) * step / (best - fitting[-2]), 1.0)
            guess = best + step * int((limit - tried[best]) / slope)
        if guess in tried or guess <= WORTH_ASKING * best:
            return best, tried


def _workload(config: Config) -> str:
    parts = f" in {config.train.accumulation_steps} parts" if config.train.accumulation_steps > 1 else ""
    return (
        f"{config.model.variant} in {config.train.precision} with --train.batch-size {config.train.batch_size}{parts} "
        f"on {jax.device_count()} device{'s' * (jax.device_count() > 1)}"
    )


def _help(config: Config) -> str:
    """Settings that save memory and are not in use yet."""
    ways = ["a smaller --train.batch-size", f"--train.accumulation-steps {2 * config.train.accumulation_steps}"]
    if config.train.rematerialise == "none":
        ways.append("--train.rematerialise stage")
    if config.train.precision == "float32" and jax.default_backend() != "cpu":
        ways.append("--train.precision bfloat16")
    if config.train.multiscale_px is not None:
        ways.append("a smaller maximum of --train.multiscale-px")
    return f"Try {', '.join(ways)}. `yolox-jax memory` finds the largest batch size that fits"
