"""What the benchmarks share: the machine they ran on, cores, summaries of rounds, and where results go."""

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
"""Share of a core below which this program counts as idle."""


def pin(cores: Iterable[int]) -> None:
    """Keep all threads of this process, and the processes that it starts from now on, on some cores (Linux)."""
    wanted = set(cores)
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), wanted)


def settle(timeout_s: float = 60.0) -> None:
    """Wait until nothing works in the background any more, such as threads and processes that fill their buffers."""
    deadline = time.perf_counter() + timeout_s
    while time.perf_counter() < deadline:
        before = cpu_seconds()
        time.sleep(0.2)
        if cpu_seconds() - before < 0.2 * IDLE:
            return


def cpu_seconds() -> float:
    """CPU time of this process and of those that it has started."""
    ticks = 0
    for process in multiprocessing.active_children():
        # After the name in parentheses, which may hold spaces; fields 14 and 15 of proc(5).
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def summary(rounds: Sequence[float]) -> dict[str, Any]:
    """Median and spread of what several rounds gave, and each of them."""
    return {
        "median": statistics.median(rounds),
        "min": min(rounds),
        "max": max(rounds),
        "p90": statistics.quantiles(rounds, n=10, method="inclusive")[-1] if len(rounds) > 1 else rounds[0],
        "rounds": [round(value, 4) for value in rounds],
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Summary of the ratios of each round, whose two measurements lie close together in time."""
    return summary([one / other for one, other in zip(above, below, strict=True)])


def spread(values: dict[str, Any], digits: int = 1) -> str:
    """A summary as text: the median, smallest and largest in parentheses."""
    return f"{values['median']:.{digits}f} ({values['min']:.{digits}f} to {values['max']:.{digits}f})"


def describe_run(packages: Iterable[str]) -> dict[str, Any]:
    """What to know about a result: command, commit, hardware, load, and the versions of packages that are installed."""
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
    """Write a result where others can read it, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    words = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
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
