"""Reads traces of the jax profiler and sums up the time of each operation of a compiled program."""

import csv
import dataclasses
import gzip
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation of a compiled program, or several with the same name."""

    name: str
    source: str
    """Origin: `forward`, `backward` or `update`, followed by the jax primitive."""
    kind: str
    calls: float
    """Per step."""
    ms: float
    """Per step, without operations nested inside it."""


def read_trace(folder: Path) -> list[dict[str, Any]]:
    """Events of the newest trace that `jax.profiler.trace` wrote to `folder`."""
    files = sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
    if not files:
        raise FileNotFoundError(f"{folder} contains no profiler trace")
    with gzip.open(files[-1], "rt", encoding="utf-8") as file:
        events: list[dict[str, Any]] = json.load(file)["traceEvents"]
    return events


def sources(program: str) -> dict[str, str]:
    """The jax primitive behind each operation of a program; `program` is its HLO text."""
    lines = re.finditer(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?op_name=\"([^\"]*)\"", program, re.MULTILINE)
    return {line[1]: line[2] for line in lines}


def operations(events: Iterable[Mapping[str, Any]], origins: Mapping[str, str], steps: int) -> list[Operation]:
    """The time of each operation, the most expensive first.

    Args:
        events: from `read_trace`.
        origins: from `sources`.
        steps: number of steps in the trace.
    """
    microseconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    chosen, on_devices = _operation_events(events)
    for name, own in _own_times(chosen):
        microseconds[name] += own
        calls[name] += 1
    if not on_devices:
        for name, gap in _gaps(chosen):
            microseconds[name] += gap
    found = [
        Operation(name, _source(origins.get(name, "")), _kind(name, origins.get(name, "")), calls[name] / steps, ms)
        for name, ms in ((name, value / 1000 / steps) for name, value in microseconds.items())
    ]
    return sorted(found, key=lambda operation: -operation.ms)


def by_kind(found: Sequence[Operation]) -> list[tuple[str, float]]:
    """Milliseconds per step for each kind of operation, the most expensive first."""
    totals: dict[str, float] = defaultdict(float)
    for operation in found:
        totals[operation.kind] += operation.ms
    return sorted(totals.items(), key=lambda item: -item[1])


def write_csv(found: Sequence[Operation], path: Path) -> None:
    """Writes all operations, one per line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(field.name for field in dataclasses.fields(Operation))
        table.writerows(dataclasses.astuple(operation) for operation in found)


def _operation_events(events: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], bool]:
    """Events of operations, and whether they ran on a GPU or TPU; if so, without the host events that launched them."""
    events = list(events)
    processes = {
        event["pid"]: event["args"]["name"]
        for event in events
        if event.get("ph") == "M" and event.get("name") == "process_name"
    }
    found = [event for event in events if event.get("ph") == "X" and "hlo_op" in event.get("args", {})]
    on_devices = [event for event in found if str(processes.get(event["pid"], "")).startswith("/device:")]
    return on_devices or found, bool(on_devices)


def _gaps(events: Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Microseconds in which no event runs, each with the last operation that started before them.

    On a CPU, the event of a convolution or matrix product only covers its start; the rest runs in threads that the
    trace does not show.
    """
    found, last, busy_until = [], "", math.inf
    for event in sorted(events, key=lambda event: event["ts"]):
        if event["ts"] > busy_until:
            found.append((last, event["ts"] - busy_until))
        last = event["args"]["hlo_op"]
        end = event["ts"] + event["dur"]
        busy_until = end if math.isinf(busy_until) else max(busy_until, end)
    return found


def _own_times(events: Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """The operation of each event, and its microseconds without nested events."""
    threads: dict[tuple[Any, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        threads[event["pid"], event.get("tid")].append(event)
    found: list[tuple[str, float]] = []
    for of_thread in threads.values():
        open_: list[tuple[float, int]] = []  # end time, and index in `found`
        for event in sorted(of_thread, key=lambda event: (event["ts"], -event["dur"])):
            while open_ and open_[-1][0] <= event["ts"]:
                open_.pop()
            if open_:
                outer = open_[-1][1]
                found[outer] = (found[outer][0], found[outer][1] - event["dur"])
            open_.append((event["ts"] + event["dur"], len(found)))
            found.append((event["args"]["hlo_op"], float(event["dur"])))
    return found


def _source(origin: str) -> str:
    """`jit(step)/transpose(jvp())/dot_general` is `backward dot_general`."""
    direction = "backward" if "transpose(" in origin else "forward" if "jvp(" in origin else "update"
    return f"{direction} {origin.rpartition('/')[2]}" if origin else "not known"


def _kind(name: str, origin: str) -> str:
    last = origin.rpartition("/")[2]
    direction = "backward" if "transpose(" in origin else "forward"
    if "conv" in last or name.startswith(("convolution", "cudnn-conv")):
        return f"convolutions, {direction}"
    if "dot" in last or name.startswith(("dot", "gemm", "cublas")):
        return f"matrix products, {direction}"
    if re.search(r"top.?k|sort", f"{name} {last}", re.IGNORECASE):
        return "searches"
    if "reduce" in name or last.startswith("reduce"):
        return "sums and maxima"
    if re.match(r"(wrapped_)?(copy|transpose|concatenate|pad|slice|bitcast|input_concatenate)", name):
        return "copies"
    if re.match(r"(all-reduce|all-gather)", name):
        return "between devices"
    return "elementwise"
