"""Worker side of `BenchmarkProcess`: builds an implementation, then times its parts, one request per line."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Built(NamedTuple):
    """An implementation, ready to be timed."""

    parts: dict[str, Callable[[], Any]]
    """Each call runs the part once and may return before the device has finished."""
    facts: dict[str, Any]
    """Facts for the results, as JSON values."""
    finished: Callable[[Any], float | None]
    """Waits for the result of a part. For a training step, it returns the loss."""
    peak_bytes: Callable[[], int | None]
    """Peak memory of the device in bytes."""


def serve(build: Callable[[dict[str, Any], str, list[str]], Built]) -> None:
    """Build the implementation specified by the JSON on the command line, then answer requests until stdin ends.

    Args:
        build: called with the spec, the implementation and the names of the parts.
    """
    order = json.loads(sys.argv[1])
    try:
        built = build(order["spec"], order["side"], order["parts"])
        _answer(built.facts)
        for line in sys.stdin:
            part, count = line.split()
            if part == "memory":
                host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                _answer({"device_bytes": built.peak_bytes(), "host_bytes": host})
                continue
            start = time.perf_counter()
            for _ in range(int(count)):
                out = built.parts[part]()
            value = built.finished(out)
            _answer({"seconds": (time.perf_counter() - start) / int(count), "value": value})
    except Exception as error:
        _answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def _answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)
