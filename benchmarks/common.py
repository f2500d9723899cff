"""Helpers shared by the benchmarks: CPU affinity, statistics over rounds, system information and JSON output."""

import importlib.metadata
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
IDLE = 0.05
"""CPU usage below which this program counts as idle, as a fraction of one core."""


def pin(cores: Iterable[int]) -> None:
    """Pin all threads of this process, and any process it starts later, to the given cores (Linux)."""
    allowed = set(cores)
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), allowed)


def settle(timeout_s: float = 60.0) -> None:
    """Wait until background work is done, such as loader threads and processes filling their buffers."""
    deadline = time.perf_counter() + timeout_s
    while time.perf_counter() < deadline:
        before = cpu_seconds()
        time.sleep(0.2)
        if cpu_seconds() - before < 0.2 * IDLE:
            return


def cpu_seconds() -> float:
    """Return the CPU time of this process and its child processes."""
    ticks = 0
    for process in multiprocessing.active_children():
        # utime and stime are fields 14 and 15 of proc(5). The name, field 2, is in parentheses and may contain spaces.
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def summary(rounds: Sequence[float]) -> dict[str, Any]:
    """Return the median, spread and individual values of several rounds."""
    return {
        "median": statistics.median(rounds),
        "min": min(rounds),
        "max": max(rounds),
        "p90": statistics.quantiles(rounds, n=10, method="inclusive")[-1] if len(rounds) > 1 else rounds[0],
        "rounds": [round(value, 4) for value in rounds],
    }


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, Any]:
    """Summarize the ratio in each round, whose two measurements are close together in time."""
    return summary([one / other for one, other in zip(numerators, denominators, strict=True)])


def spread(values: dict[str, Any], digits: int = 1) -> str:
    """Format a summary as the median, followed by the range in parentheses."""
    return f"{values['median']:.{digits}f} ({values['min']:.{digits}f} to {values['max']:.{digits}f})"


def describe_run(packages: Iterable[str]) -> dict[str, Any]:
    """Describe a run: command, date, commit, machine, load, and the versions of the given packages, if installed."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
            "load_at_start": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **_versions(packages)},
    }


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON and print the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
