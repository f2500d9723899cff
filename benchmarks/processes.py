"""Benchmark processes that take turns: one computes while the others are idle."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import CHECKOUT

SETTLE_S = 0.5
"""Pause before each measurement, until the previous process is idle. PyTorch's threads spin for a while after work."""
WARM_UP = 3
"""Runs before the first measured one. Kernels are autotuned and PyTorch compiles during these."""


class BenchmarkProcess:
    """A process that runs one implementation and times its parts on request."""

    def __init__(
        self, worker: str, spec: dict[str, Any], side: str, parts: Sequence[str], variables: dict[str, str]
    ) -> None:
        """Start the process.

        Args:
            worker: script in this folder that calls `serve`.
            spec: what to measure, as JSON values.
            side: the implementation, such as `ours`.
            parts: names of the parts to time.
            variables: environment variables to add.
        """
        self.side = side
        self.parts = list(parts)
        self.seconds: dict[str, list[float]] = {part: [] for part in self.parts}
        order = {"spec": spec, "side": side, "parts": self.parts}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(worker)), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment() | variables,
        )
        self.facts: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}

    def wait(self) -> None:
        """Wait until the process is ready to measure, or has failed."""
        self.facts = self._read()

    @property
    def error(self) -> str | None:
        """Error that ended the process, if any."""
        return self.facts.get("error")

    def warm_up(self) -> None:
        """Run every part a few times."""
        for part in self.parts:
            for _ in range(WARM_UP):
                self._time(part, 1)

    def measure(self, seconds: float) -> None:
        """Time every part for about this many seconds, and at least once, after a run that does not count.

        What a process freed before the others' turns may have been taken from a virtual machine since, and is slow to
        come back. A program that does nothing else never sees that.
        """
        for part in self.parts:
            if self.error is None:
                first = self._time(part, 1)
                last = self.seconds[part][-1] if self.seconds[part] else first
                self.seconds[part].append(self._time(part, max(1, round(seconds / last))))

    def _time(self, part: str, count: int) -> float:
        """Return the mean seconds per run over `count` runs, or infinity after an error."""
        if self.error is not None:
            return math.inf
        answer = self._ask(part, count)
        if "error" in answer:
            self.facts = {**self.facts, **answer}
        return answer.get("seconds", math.inf)

    def close(self) -> None:
        """Read the peak memory and end the process."""
        if self.error is None:
            self.memory = self._ask("memory", 1)
        self._process.communicate()

    def _ask(self, part: str, count: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(part, count, file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):  # other packages print to stdout too
                answer: dict[str, Any] = json.loads(line)
                return answer
        return {"error": f"its process ended with code {self._process.wait()}"}


def take_turns(processes: Sequence[BenchmarkProcess], rounds: int, seconds: float) -> None:
    """Measure all processes in alternating rounds, then end them.

    Other load on the machine thus affects all of them alike.

    Args:
        processes: ready and warmed up.
        rounds: number of rounds.
        seconds: approximate time for each part in each round.
    """
    for _ in range(rounds):
        for one in processes:
            time.sleep(SETTLE_S)
            one.measure(seconds)
    for one in processes:
        one.close()


def environment() -> dict[str, str]:
    """Return an environment in which a process finds the package and these scripts."""
    paths = [str(CHECKOUT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def has_gpu() -> bool:
    """Return whether there is an NVIDIA GPU."""
    return Path("/dev/nvidiactl").exists()


def matrix_tflops(precisions: Sequence[str], size: int) -> dict[str, float]:
    """Measure the peak throughput of the device in each precision by multiplying square matrices."""
    script = "import json, sys, our_step; print(json.dumps(our_step.matrix_tflops(sys.argv[1], int(sys.argv[2]))))"
    found = {}
    for precision in precisions:
        command = [sys.executable, "-c", script, precision, str(size)]
        run = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        found[precision] = float(run.stdout)
        print(f"{size}x{size} matrix product, {precision}: {found[precision]:.2f} TFLOP/s", flush=True)
    return found
