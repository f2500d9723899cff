"""The side of a contestant: builds what it is told to, then times what it is asked for, a line each way."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Built(NamedTuple):
    """What can be timed."""

    parts: dict[str, Callable[[], Any]]
    """Each runs once and returns, perhaps before the device is done."""
    facts: dict[str, Any]
    """What there is to say about it, as JSON values."""
    finished: Callable[[Any], float | None]
    """Waits for what a part returned."""
    peak_bytes: Callable[[], int | None]
    """Most memory of the device that was in use."""


def serve(build: Callable[[dict[str, Any], str, list[str]], Built]) -> None:
    """Build what the JSON object on the command line says, then answer stdin until it ends.

    Args:
        build: from the spec, the side and the names of the parts.
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
