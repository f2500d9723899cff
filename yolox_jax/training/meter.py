"""Figures of the steps since the last report, gathered without waiting for the device."""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np

from yolox_jax.training.step import Metrics


class Meter:
    """Collects the metrics of steps as arrays on the device; only `report` waits for them."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.restart()

    def restart(self) -> None:
        """Begins a new interval, so that an evaluation in between does not count as training time."""
        self._steps: list[Metrics] = []
        self._waited = 0.0
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as spent waiting for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def add(self, metrics: Metrics) -> None:
        """Notes the metrics of a step."""
        self._steps.append(metrics)

    def report(self) -> dict[str, float]:
        """Means of the losses since the last report, the rate, the share of time spent waiting, and the memory."""
        steps = jax.device_get(self._steps)
        elapsed = time.perf_counter() - self._start
        figures = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        figures["images_per_second"] = len(steps) * self._batch_size / elapsed
        figures["data_wait"] = self._waited / elapsed
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
