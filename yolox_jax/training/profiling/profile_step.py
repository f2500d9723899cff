"""Times the training step of a config on a synthetic batch, and traces its operations."""

import dataclasses
import time
from pathlib import Path

import jax

from yolox_jax.config import Config
from yolox_jax.training.profiling import trace
from yolox_jax.training.profiling.prepared_step import PreparedStep

WARM_UP_STEPS = 2


@dataclasses.dataclass(frozen=True)
class StepProfile:
    """The cost of a training step."""

    compile_seconds: float
    step_ms: float
    """Wall time per step, with the profiler off."""
    operations: list[trace.Operation]
    """The most expensive first, timed with the profiler on."""


def profile_step(config: Config, num_classes: int, steps: int, folder: Path) -> StepProfile:
    """Compiles, times and traces the training step at `data.input_size`.

    Args:
        config: The config; it needs no data.
        num_classes: Number of classes of the network.
        steps: Number of steps to time, and again to trace.
        folder: Output folder for the profiler trace and operations.csv; earlier traces in it are kept.
    """
    start = time.perf_counter()
    prepared = PreparedStep(config, num_classes)
    compiled = prepared.lower(config.data.input_size).compile()
    compile_seconds = time.perf_counter() - start
    run = prepared.runner(compiled)
    for _ in range(WARM_UP_STEPS):
        jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready([run() for _ in range(steps)])
    step_ms = 1000 * (time.perf_counter() - start) / steps
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready([run() for _ in range(steps)])
    operations = trace.operations(trace.read_trace(folder), trace.sources(compiled.as_text() or ""), steps)
    trace.write_csv(operations, folder / "operations.csv")
    return StepProfile(compile_seconds, step_ms, operations)
