"""Metrics and rates of the steps since the last report, collected without stalling the device."""

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
"""Maximum number of steps dispatched to the device but not finished: one running and one queued, so that the device is
never idle. More would fill its memory with batches, and hide whether the run waits for data or for the device."""

Step = dict[str, float]


class Meter:
    """Collects the metrics of steps, and measures how long the host waits for data and transfers."""

    def __init__(self, batch_size: int, earlier: list[Step]) -> None:
        """`earlier` holds the metrics of steps that were taken, but not reported, before the run was resumed."""
        self._batch_size = batch_size
        self.restart()
        self._steps += earlier

    def restart(self) -> None:
        """Starts a new interval."""
        self._steps: list[StepMetrics | Step] = []
        self._waited = {"data": 0.0, "transfer": 0.0, "pause": 0.0}
        self._num_timed = 0
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self, what: Literal["data", "transfer", "pause"]) -> Iterator[None]:
        """Counts the time inside as waiting for data or its transfer; `pause` excludes it from the rates."""
        start = time.perf_counter()
        yield
        self._waited[what] += time.perf_counter() - start

    def add(self, metrics: StepMetrics) -> None:
        """Adds the metrics of a step, and waits while too many steps are in flight."""
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
        """Metrics since the last report; starts a new interval.

        Returns:
            The mean of each metric over the steps that were not skipped (NaN if all were), except `skipped`, a count,
            and `loss_scale`, the last value. Also `images_per_second`; `data_wait` and `transfer_wait`, the fractions
            of time spent waiting for data and for its transfer to the device (the rest is computation); and
            `memory_mib`, the peak memory.
        """
        steps = self.steps()
        elapsed = max(time.perf_counter() - self._start - self._waited["pause"], 1e-9)
        counted = [step for step in steps if not step["skipped"]]
        metrics = {name: float(np.mean([step[name] for step in counted])) if counted else np.nan for name in steps[0]}
        metrics["skipped"] = sum(step["skipped"] for step in steps)
        metrics["loss_scale"] = steps[-1]["loss_scale"]
        metrics["images_per_second"] = self._num_timed * self._batch_size / elapsed
        metrics["data_wait"] = self._waited["data"] / elapsed
        metrics["transfer_wait"] = self._waited["transfer"] / elapsed
        metrics["memory_mib"] = _peak_memory_mib()
        self.restart()
        return metrics


def _peak_memory_mib() -> float:
    """Peak memory so far: of the first device if it reports that, otherwise of this process."""
    device = jax.local_devices()[0].memory_stats()
    if device and "peak_bytes_in_use" in device:
        return device["peak_bytes_in_use"] / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux
