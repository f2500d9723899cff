"""Contestants of a benchmark: processes that compute when asked and are idle otherwise, and take turns."""

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
"""Until the threads of the contestant before sleep; PyTorch's look for work a while longer."""
WARM_UP = 3
"""Runs before the first that counts: kernels are tried, and PyTorch compiles."""


class Contestant:
    """A process that runs parts of something when asked."""

    def __init__(
        self, worker: str, spec: dict[str, Any], side: str, parts: Sequence[str], variables: dict[str, str]
    ) -> None:
        """Start it.

        Args:
            worker: script beside this file that `serve`s.
            spec: what is measured, as JSON values.
            side: who computes it.
            parts: what can be timed.
            variables: of its environment.
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
        """Until it is built and has run once."""
        self.facts = self._read()

    @property
    def error(self) -> str | None:
        """What went wrong with it."""
        return self.facts.get("error")

    def warm_up(self) -> None:
        """Run every part a few times."""
        for part in self.parts:
            for _ in range(WARM_UP):
                self._time(part, 1)

    def measure(self, seconds: float) -> None:
        """Time every part, each for about some seconds, and at least once."""
        for part in self.parts:
            if self.error is None:
                last = self.seconds[part][-1] if self.seconds[part] else self._time(part, 1)
                self.seconds[part].append(self._time(part, max(1, round(seconds / last))))

    def _time(self, part: str, count: int) -> float:
        """Seconds of one of some runs; after an error infinite."""
        if self.error is not None:
            return math.inf
        answer = self._ask(part, count)
        if "error" in answer:
            self.facts = {**self.facts, **answer}
        return answer.get("seconds", math.inf)

    def close(self) -> None:
        """End the process."""
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
            if line.startswith("{"):  # packages print too
                answer: dict[str, Any] = json.loads(line)
                return answer
        return {"error": f"its process ended with code {self._process.wait()}"}


def take_turns(contestants: Sequence[Contestant], rounds: int, seconds: float) -> None:
    """Measure all of them, round after round, so that what else the machine does falls on all alike; then end them.

    Args:
        contestants: built and warmed up.
        rounds: number of turns of each.
        seconds: of each part in each round, about.
    """
    for _ in range(rounds):
        for one in contestants:
            time.sleep(SETTLE_S)
            one.measure(seconds)
    for one in contestants:
        one.close()


def environment() -> dict[str, str]:
    """Of a process that finds the package and these scripts."""
    paths = [str(CHECKOUT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def has_gpu() -> bool:
    """Whether a GPU of NVIDIA is there."""
    return Path("/dev/nvidiactl").exists()


def matrix_tflops(precisions: Sequence[str], size: int) -> dict[str, float]:
    """What the device reaches at best in each precision: products of square matrices, in a process of their own."""
    script = "import json, sys, our_step; print(json.dumps(our_step.matrix_tflops(sys.argv[1], int(sys.argv[2]))))"
    found = {}
    for precision in precisions:
        words = [sys.executable, "-c", script, precision, str(size)]
        run = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        found[precision] = float(run.stdout)
        print(f"matrix product of {size}, {precision}: {found[precision]:.2f} TFLOP/s", flush=True)
    return found
