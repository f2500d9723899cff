"""Measures the time and memory of the assignment rules for various numbers of objects and batch sizes.

They run on random noise shaped like the outputs of a network at 640 px: one prediction a cell, or three with the anchor
boxes that the rule `yolov3` needs. Targets are padded to the number of objects.
"""

import argparse
import itertools
import statistics
import sys
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from common import describe_run, write_json
from plots import plot_assignment
from yolox_jax.assignment import assign
from yolox_jax.cli.huge_pages import restart_with_huge_pages
from yolox_jax.config import AssignmentConfig
from yolox_jax.config.assignment import YOLOV3_ANCHORS, AssignmentRule
from yolox_jax.structures import Assignment, Targets
from yolox_jax.training.profiling.fake_batch import fake_batch

SIZE = (640, 640)
NUM_CLASSES = 80
RULES = typing.get_args(AssignmentRule)


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    result = describe_run(("yolox-jax", "jax", "jaxlib", "numpy"))
    result["device"] = jax.devices()[0].device_kind
    result["cases"] = []
    columns = ("rule", "images", "objects each", "ms", "ms per image", "times SimOTA", "MiB")
    table = Table(*columns, title=f"Assignment on {result['device']}")
    simota_ms: dict[tuple[int, int], float] = {}
    for rule, images, objects in itertools.product(arguments.rules, arguments.batch, arguments.objects):
        case = _measure(rule, images, objects, arguments.seconds)
        result["cases"].append(case)
        ms = case["ms"]
        if rule == "simota":
            simota_ms[images, objects] = ms
        print(f"{rule}, {images} images, {objects} objects each: {ms:.2f} ms", flush=True)
        times = f"{ms / simota_ms[images, objects]:.2f}" if simota_ms else ""
        sizes = f"{ms:.2f}", f"{ms / images:.3f}", times, f"{case['temporary_mib']:.0f}"
        table.add_row(rule, str(images), str(objects), *sizes)
    Console().print(table)
    if arguments.output is not None:
        write_json(arguments.output, result)
        plot_assignment(result, arguments.output.with_suffix(".png"))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="assignment.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--rules", nargs="+", choices=RULES, default=RULES, help="assignment rules; SimOTA first, to compare with it"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64], help="batch sizes")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 10, 50, 120, 250, 500], help="objects per image")
    parser.add_argument("--seconds", type=float, default=2.0, help="approximate seconds per measurement")
    parser.add_argument("--output", type=Path, help="JSON file for the results; a plot is saved next to it")
    return parser.parse_args(argv)


def _measure(rule: AssignmentRule, images: int, objects: int, seconds: float) -> dict[str, Any]:
    batch = fake_batch(images, (32, 32), objects=objects, num_classes=NUM_CLASSES, slots=objects)
    rng = np.random.default_rng(0)
    targets = Targets(
        jnp.asarray(np.concatenate([rng.uniform(0, SIZE[::-1], (images, objects, 2)), batch["boxes"][..., 2:]], -1)),
        jnp.asarray(batch["classes"]),
        jnp.asarray(batch["valid"]),
    )
    anchors = YOLOV3_ANCHORS if rule == "yolov3" else ()
    cells = sum((SIZE[0] // stride) * (SIZE[1] // stride) for stride in (8, 16, 32))
    shape = images, cells * (3 if anchors else 1), 5 + NUM_CLASSES
    raw = jnp.asarray(rng.normal(-2, 1, shape), jnp.float32)
    config = AssignmentConfig(rule=rule)

    def run(raw: Any, targets: Targets) -> Assignment:
        return assign(raw, targets, image_size=SIZE, config=config, anchors=anchors)

    compiled = jax.jit(run).lower(raw, targets).compile()
    memory: Any = compiled.memory_analysis()
    jax.block_until_ready(compiled(raw, targets))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        jax.block_until_ready(compiled(raw, targets))
        times.append(time.perf_counter() - start)
    return {
        "rule": rule,
        "images": images,
        "objects": objects,
        "ms": 1000 * statistics.median(times),
        "runs": len(times),
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
    }


if __name__ == "__main__":
    restart_with_huge_pages()  # as training does
    main(sys.argv[1:])
