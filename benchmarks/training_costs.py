"""What a COCO run costs on machines that are not here, computed from compiled steps and the speed of loading.

    images/s   devices x images of a device / least time of its step, from the results of deviceless.py
    hours      epochs x images / images/s, at that bound and at the share of it that was seen on a card
    cores      images/s at that share / images/s that one core loads, from the results of input_pipeline.py
    exchanged  4 bytes for each parameter and batch statistic, once a step
    link ms    2 (devices - 1) / devices x exchanged / speed of the links of a device: a ring that does nothing else

Nothing of this is measured. Evaluation, compilation and waiting are not in it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax import nnx

from common import CHECKOUT
from yolox_jax.models import VARIANTS, create_model
from yolox_jax.training.profiling.cards import load_card

RESULTS = CHECKOUT / "benchmarks/results"
TRAIN_IMAGES, EPOCHS = 118_287, 300
"""Of COCO train2017, and in the configs."""
SEEN_SHARE = 25.5 / 44.0
"""Least time of the step of YOLOX-s in bfloat16 at batch 64 on an H100, over the time it took (docs/performance.md)."""


class Machine(NamedTuple):
    """Devices that train one network together."""

    name: str
    devices: int
    described: str
    """The devices that deviceless.py compiled for."""


class Cost(NamedTuple):
    """One network on one machine."""

    images_per_s: float
    hours: float
    seen_hours: float
    """If the step reaches `SEEN_SHARE` of its bound."""
    cores: dict[str, float]
    """That load as many images, by `data.cache`, at `SEEN_SHARE`."""
    step_ms: float
    exchanged_mb: float
    link_ms: float


MACHINES = (Machine("8 V100", 8, "v100"), Machine("8 H100", 8, "h100"), Machine("v5e pod of 256 chips", 256, "v5e:2x2"))


def main(argv: Sequence[str]) -> int:
    """Computes and prints; `argv` is the command line without the program name. Returns the exit code."""
    arguments = _parse(argv)
    compiled = json.loads(arguments.compiled.read_text("utf-8"))["cells"]
    per_core = images_per_core(json.loads(arguments.loading.read_text("utf-8")))
    exchanged = {name: exchanged_bytes(name) for name in VARIANTS}
    code = 0
    for machine in MACHINES:
        cells = {cell["config"]: cell for cell in compiled if cell["device"] == machine.described and "total" in cell}
        found = [name for name in VARIANTS if name in cells]
        if found:
            some = cells[found[0]]
            batch = some["batch_size"] // some["devices"]
            print(
                f"\n{machine.name}, {some['precision']}, {batch} images a device, {batch * machine.devices} a step:\n"
            )
            print(markdown({name: cost(cells[name], machine, exchanged[name], per_core) for name in found}))
        missing = [name for name in VARIANTS if name not in cells]
        if missing:
            code = 2
            print(
                f"error: {arguments.compiled} has no {machine.described} for {', '.join(missing)}. To compile them: "
                f"python benchmarks/deviceless.py --config {' '.join(missing)} --device {machine.described} "
                f"--size 640 640 --batch-size N --output {arguments.compiled}",
                file=sys.stderr,
            )
    return code


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training_costs.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--compiled", type=Path, default=RESULTS / "deviceless.json", metavar="FILE.json", help="from deviceless.py"
    )
    parser.add_argument(
        "--loading",
        type=Path,
        default=RESULTS / "input_pipeline_2core.json",
        metavar="FILE.json",
        help="from input_pipeline.py, measured on one core",
    )
    return parser.parse_args(argv)


def images_per_core(loading: dict[str, Any]) -> dict[str, float]:
    """Images/s of our loader on one core, by cache, from the results of input_pipeline.py."""
    ours = (one for one in loading["pipelines"] if one["name"] == "ours" and one["loaded_by"] == "1 thread")
    return {one["cache"]: one["images_per_s"]["median"] for one in ours}


def exchanged_bytes(variant: str) -> int:
    """Bytes that each device adds to those of the others in a step: gradients and batch statistics in float32."""
    model = nnx.eval_shape(lambda: create_model(variant))
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return 4 * sum(leaf.size for leaf in jax.tree.leaves(state))


def cost(cell: dict[str, Any], machine: Machine, exchanged: int, per_core: dict[str, float]) -> Cost:
    """What a run of a network costs, from the cell of its compiled step."""
    card = load_card(machine.described.partition(":")[0])
    images_per_s = cell["most_images_per_s"] * machine.devices / cell["devices"]
    hours = EPOCHS * TRAIN_IMAGES / images_per_s / 3600
    ring = 2 * (machine.devices - 1) / machine.devices * exchanged
    return Cost(
        images_per_s=images_per_s,
        hours=hours,
        seen_hours=hours / SEEN_SHARE,
        cores={cache: SEEN_SHARE * images_per_s / one for cache, one in per_core.items()},
        step_ms=cell["total"]["least_ms"],
        exchanged_mb=exchanged / 1e6,
        link_ms=ring / (card.link_gb_s * 1e6),
    )


def markdown(costs: dict[str, Cost]) -> str:
    """A table of the costs of each network."""
    caches = list(next(iter(costs.values())).cores)
    lines = [
        "| network | images/s at most | hours at least | hours at the share seen |"
        + "".join(f" cores, {'no cache' if one == 'none' else f'cache {one}'} |" for one in caches)
        + " step ms at least | exchanged MB | link ms |",
        "|---" * (7 + len(caches)) + "|",
    ]
    for name, one in costs.items():
        cores = "".join(f" {one.cores[cache]:.0f} |" for cache in caches)
        lines.append(
            f"| {name} | {one.images_per_s:.0f} | {one.hours:.1f} | {one.seen_hours:.1f} |{cores} {one.step_ms:.1f} | "
            f"{one.exchanged_mb:.1f} | {one.link_ms:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
