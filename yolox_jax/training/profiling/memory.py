"""Device memory: what a compiled step needs, what to do where that is too much, and the largest batch that fits."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import psutil

from yolox_jax.config import Config, ConfigError
from yolox_jax.training.step.state import TrainState

GIB = 2**30

WORTH_ASKING = 1.1
"""How much larger a batch has to be to be compiled for."""


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
def out_of_memory_explained(config: Config, *, evaluating: bool = False) -> Iterator[None]:
    """Around training or evaluating: where a device runs out of memory after all, an error that says what helps."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        what = f"a device ran out of memory with {_asked(config)}. {_help(config)}"
        if evaluating:
            size = config.evaluation.batch_size
            what = f"a device ran out of memory while evaluating. A smaller --evaluation.batch-size than {size} helps"
        raise ConfigError(f"{what} ({reason})") from error


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
    guess = step * (1 + int((limit - first) / per_step))
    while True:
        if guess not in found:
            found[guess] = needed_at(guess)
        fitting = sorted(batch for batch, needed in found.items() if needed <= limit)
        best = fitting[-1]
        if found[guess] > limit:
            # What does not fit is an eighth too much at most, by the line through what was found.
            guess -= step * math.ceil((found[guess] - limit) / per_step)
        elif len(fitting) > 1:
            # Memory may grow slower further on, as where a fast algorithm needs its room once.
            slope = max((found[best] - found[fitting[-2]]) * step / (best - fitting[-2]), 1.0)
            guess = best + step * int((limit - found[best]) / slope)
        if guess in found or guess <= WORTH_ASKING * best:
            return best, found


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
