"""The worker of a `BenchmarkProcess`: builds an implementation, then times its parts; one line per request."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Built(NamedTuple):
    """An implementation, ready to be timed."""

    parts: dict[str, Callable[[], Any]]
    """Each call runs once, and may return before the device has finished."""
    facts: dict[str, Any]
    """Facts for the results, as JSON values."""
    finished: Callable[[Any], float | None]
    """Waits for the result of a part."""
    peak_bytes: Callable[[], int | None]
    """Peak memory of the device in bytes."""


def serve(build: Callable[[dict[str, Any], str, list[str]], Built]) -> None:
    """Build what the JSON object on the command line specifies, then answer requests from stdin until it ends.

    Args:
        build: takes the spec, the implementation and the names of the parts.
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
