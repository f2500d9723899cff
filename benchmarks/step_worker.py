"""One contestant of `train_step.py` in a process of its own, so that each has its own threads, memory and settings.

Told what to build by a JSON object on the command line, it says what came of it on stdout, then times what it is asked
for on stdin, a line each way. Until then it computes nothing, so that others can be measured.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from step_spec import StepSpec


def main() -> None:
    """Builds, then answers until stdin ends."""
    order = json.loads(sys.argv[1])
    spec = StepSpec(**order["spec"])
    try:
        if order["side"] == "ours":
            parts, facts, finished, peak = _build_ours(spec, order["parts"])
        else:
            parts, facts, finished, peak = _build_original(spec, order["side"])
        _answer(facts)
        for line in sys.stdin:
            part, count = line.split()
            if part == "memory":
                host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                _answer({"device_bytes": peak(), "host_bytes": host})
                continue
            start = time.perf_counter()
            for _ in range(int(count)):
                out = parts[part]()
            value = finished(out)
            _answer({"seconds": (time.perf_counter() - start) / int(count), "value": value})
    except Exception as error:
        _answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


Built = tuple[dict[str, Callable[[], Any]], dict[str, Any], Callable[[Any], float | None], Callable[[], int | None]]


def _build_ours(spec: StepSpec, wanted: list[str]) -> Built:
    import jax

    import our_step

    ours = our_step.OurStep(spec)
    parts: dict[str, Callable[[], Any]] = {}
    facts: dict[str, Any] = {"gflops": ours.gflops, "device": jax.devices()[0].device_kind, "parts": {}}
    for part in wanted:
        parts[part], facts["parts"][part] = ours.part(part)  # type: ignore[arg-type]

    def finished(out: Any) -> float | None:
        jax.block_until_ready(out)
        leaves = jax.tree.leaves(out)
        return float(leaves[0]) if len(leaves) == 1 and leaves[0].ndim == 0 else None

    return parts, facts, finished, our_step.peak_memory_bytes


def _build_original(spec: StepSpec, side: Any) -> Built:
    import torch

    import original_step

    step = original_step.original_step(spec, side)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return (
        {"step": step},
        {"device": device, "parts": {"step": {}}},
        original_step.finished,
        original_step.peak_memory_bytes,
    )


def _answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main()
