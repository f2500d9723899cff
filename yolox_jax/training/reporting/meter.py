"""Figures of the steps since the last report, gathered without stalling the device."""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np

from yolox_jax.training.step.gradients import StepMetrics

MOST_IN_FLIGHT = 2
"""Steps handed to the device and not yet done: one that runs and one that waits, so that it never stands still. More
would fill its memory with batches, and hide whether the run waits for data or for the device."""

Step = dict[str, float]


class Meter:
    """Collects the metrics of steps and what the host waited for meanwhile."""

    def __init__(self, batch_size: int, earlier: list[Step]) -> None:
        """`earlier`: metrics of steps since the last report that a run took before it was resumed."""
        self._batch_size = batch_size
        self.restart()
        self._steps += earlier

    def restart(self) -> None:
        """Begins a new interval."""
        self._steps: list[StepMetrics | Step] = []
        self._waited = {"data": 0.0, "transfer": 0.0, "pause": 0.0}
        self._num_timed = 0
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self, what: Literal["data", "transfer", "pause"]) -> Iterator[None]:
        """Counts the time inside as waiting for data or its transfer, or, with `pause`, as no part of training."""
        start = time.perf_counter()
        yield
        self._waited[what] += time.perf_counter() - start

    def add(self, metrics: StepMetrics) -> None:
        """Notes the metrics of a step, and waits until few enough steps are in flight."""
        self._steps.append(metrics)
        self._num_timed += 1
        if self._num_timed > MOST_IN_FLIGHT:
            jax.block_until_ready(self._steps[-1 - MOST_IN_FLIGHT])

    def steps(self) -> list[Step]:
        """Metrics of each step since the last report; waits for the device."""
        steps = [{name: float(value) for name, value in step.items()} for step in jax.device_get(self._steps)]
        self._steps = [*steps]
        return steps

    def report(self) -> dict[str, float]:
        """Figures since the last report, and begins a new interval.

        Returns:
            Means of the metrics over the steps that were not skipped (NaN without one), but for `skipped`, their
            number, and `loss_scale`, the last. Images a second. Shares of the time that the host waited for data
            (`data_wait`) and handed them to the device (`transfer_wait`); the rest went into computing. Peak memory.
        """
        steps = self.steps()
        elapsed = max(time.perf_counter() - self._start - self._waited["pause"], 1e-9)
        counted = [step for step in steps if not step["skipped"]]
        figures = {name: float(np.mean([step[name] for step in counted])) if counted else np.nan for name in steps[0]}
        figures["skipped"] = sum(step["skipped"] for step in steps)
        figures["loss_scale"] = steps[-1]["loss_scale"]
        figures["images_per_second"] = self._num_timed * self._batch_size / elapsed
        figures["data_wait"] = self._waited["data"] / elapsed
        figures["transfer_wait"] = self._waited["transfer"] / elapsed
        figures["memory_mib"] = _peak_memory_mib()
        self.restart()
        return figures


def _peak_memory_mib() -> float:
    """Most memory used so far: of the first device where it tells, of this process otherwise."""
    device = jax.local_devices()[0].memory_stats()
    if device and "peak_bytes_in_use" in device:
        return device["peak_bytes_in_use"] / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux
