"""Compiles training steps for accelerators that are not in this machine, and reports what they need there.

XLA compiles for a GPU or a TPU from its description. The program tells its memory, its kernels, the bytes they move and
their operations, and between several devices, what they exchange. The least time of a kernel is that of its bytes at
the card's bandwidth, of its operations at the card's peak, or of its start, whichever is longest; their sum bounds the
images/s from above. Exchange between devices, autotuning and the workspace of cuDNN are not in these figures.

With --output, results are kept in a file, and steps whose program and compiler have not changed are not compiled again.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from common import describe_run, write_json
from deviceless_report import markdown, print_kinds, print_longest, report
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import load_config
from yolox_jax.training.profiling.cards import GIB, Card
from yolox_jax.training.profiling.described_devices import DescribedDevices, described_devices
from yolox_jax.training.profiling.memory import largest_batch, needed_bytes, refused_bytes
from yolox_jax.training.profiling.prepared_step import PreparedStep

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy", "jax-cuda12-pjrt", "jax-cuda13-pjrt", "libtpu")
KEY = ("config", "device", "devices", "precision", "batch_size", "size", "num_classes")
"""What names a cell in the results."""

Cell = dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Compiles and prints; `argv` is the command line without the program name. Returns the exit code."""
    arguments = _parse(argv)
    result = _earlier(arguments.output) | describe_run(PACKAGES)
    try:
        for device, name in itertools.product(arguments.device, arguments.config):
            target = described_devices(device, arguments.devices)
            config = _config(name, target.card, arguments)
            cell = _measure(name, device, config, target, arguments, result)
            _print(cell, target)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.table:
        print(markdown(result["cells"]))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deviceless.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", nargs="+", required=True, help="names or paths of configs")
    parser.add_argument(
        "--device", nargs="+", required=True, help="GPUs such as h100, or TPUs with their arrangement such as v5e:2x2"
    )
    parser.add_argument("--devices", type=int, help="number of GPUs (default: 1)")
    parser.add_argument("--batch-size", type=int, help="images per step, over all devices (default: of the config)")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16"],
        help="of the network (default: bfloat16, or float16 where that is faster)",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="input size in px (default: of the config)"
    )
    parser.add_argument("--num-classes", type=int, default=80, help="classes of the network (default: 80)")
    parser.add_argument(
        "--largest-batch", action="store_true", help="also find the largest batch, with two or three more compilations"
    )
    parser.add_argument("--top", type=int, default=0, help="number of kernels to list")
    parser.add_argument("--programs", type=Path, metavar="FOLDER", help="keep the text of the compiled programs")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="results; cells of earlier calls are kept")
    parser.add_argument("--table", action="store_true", help="print all cells of the results as a table in Markdown")
    return parser.parse_args(argv)


def _earlier(output: Path | None) -> dict[str, Any]:
    if output is None or not output.exists():
        return {"cells": []}
    earlier: dict[str, Any] = json.loads(output.read_text("utf-8"))
    return earlier


def _config(name: str, card: Card, arguments: argparse.Namespace) -> Config:
    """The config with the flags of the command line, and without multi-scale training."""
    config, peaks = load_config(name), card.peak_tflops
    precision = arguments.precision or max(("bfloat16", "float16"), key=lambda one: peaks.get(one, 0))
    if precision not in peaks:
        raise ConfigError(f"--precision {precision}: {card.name} has none; use {' or '.join(peaks)}")
    size = arguments.size or config.data.input_size
    batch_size = config.train.batch_size if arguments.batch_size is None else arguments.batch_size
    train: Any = {"batch_size": batch_size, "precision": precision, "multiscale_px": None}
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, input_size=tuple(size)),
        train=dataclasses.replace(config.train, **train),
    )
    check_config(config)
    return config


def _measure(
    name: str, device: str, config: Config, target: DescribedDevices, arguments: argparse.Namespace, result: Cell
) -> Cell:
    """The figures of one step, compiled or taken from the results if they are of the same program."""
    size, train = config.data.input_size, config.train
    step = PreparedStep(config, arguments.num_classes, target.devices)
    lowered = step.lower(size)
    cell: Cell = {
        "config": name,
        "device": device,
        "devices": len(target.devices),
        "precision": train.precision,
        "batch_size": train.batch_size,
        "size": list(size),
        "num_classes": arguments.num_classes,
        "program": hashlib.sha256(lowered.as_text().encode()).hexdigest(),
        "compiler": {one: result["versions"][one] for one in PACKAGES[-3:] if one in result["versions"]},
    }
    earlier = next((one for one in result["cells"] if all(one[key] == cell[key] for key in KEY)), None)
    same = earlier is not None and all(earlier[key] == cell[key] for key in ("program", "compiler"))
    if same and earlier is not None:
        cell = earlier
    if not same or arguments.top or arguments.programs:
        cell |= _compiled(step, lowered, target.card, cell, arguments)
    _keep(cell, result, arguments.output)
    if arguments.largest_batch and "largest_batch" not in cell:
        cell |= _largest_batch(config, target, cell, arguments.num_classes)
        _keep(cell, result, arguments.output)
    return cell


def _compiled(
    step: PreparedStep, lowered: jax.stages.Lowered, card: Card, cell: Cell, arguments: argparse.Namespace
) -> Cell:
    """Compiles a step; the figures of its program. Without them if the compiler refuses it as too large."""
    label = f"{cell['config']} {cell['precision']} batch {cell['batch_size']} for {cell['device']}"
    print(f"compiling {label} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        compiled = step.compile(lowered)
    except jax.errors.JaxRuntimeError as error:
        needed = refused_bytes(str(error))
        if needed is None:
            raise
        return _memory(needed, card)
    seconds = round(time.perf_counter() - start, 1)
    text, precision = compiled.as_text() or "", cell["precision"]
    if arguments.programs is not None:
        arguments.programs.mkdir(parents=True, exist_ok=True)
        name = f"{Path(cell['config']).stem}_{cell['device'].replace(':', '_')}_{cell['batch_size']}.hlo.txt"
        (arguments.programs / name).write_text(text, encoding="utf-8")
    figures = report(text, card, precision)
    least_s = figures["total"]["least_ms"] / 1e3
    if arguments.top:
        print_longest(text, card, precision, arguments.top)
    return {
        "compile_s": seconds,
        **_memory(needed_bytes(compiled), card),
        **figures,
        "most_images_per_s": round(cell["batch_size"] / least_s, 1),
    }


def _memory(needed: int, card: Card) -> Cell:
    return {
        "needed_gib": round(needed / GIB, 4),
        "program_gib": round(card.program_bytes / GIB, 4),
        "fits": needed <= card.program_bytes,
    }


def _largest_batch(config: Config, target: DescribedDevices, cell: Cell, num_classes: int) -> Cell:
    """The largest batch that fits, and the memory of all batches tried."""

    def needed_at(batch: int) -> int:
        if batch == cell["batch_size"]:
            return int(cell["needed_gib"] * GIB)
        print(f"compiling {cell['config']} batch {batch} for {cell['device']} ...", file=sys.stderr, flush=True)
        train = dataclasses.replace(config.train, batch_size=batch)
        step = PreparedStep(dataclasses.replace(config, train=train), num_classes, target.devices)
        return step.needed_bytes(config.data.input_size)

    shares = len(target.devices) * config.train.accumulation_steps
    own = cell["batch_size"] // shares  # compiled already
    largest, tried = largest_batch(needed_at, target.card.program_bytes, shares, second=own if own > 1 else 4)
    return {
        "largest_batch": largest,
        "needed_gib_by_batch": {str(batch): round(needed / GIB, 4) for batch, needed in sorted(tried.items())},
    }


def _keep(cell: Cell, result: Cell, output: Path | None) -> None:
    """Puts a cell in the place of the earlier one of the same step, and writes the results."""
    others = [one for one in result["cells"] if any(one[key] != cell[key] for key in KEY)]
    result["cells"] = [*others, cell]
    if output is not None:
        write_json(output, result)


def _print(cell: Cell, target: DescribedDevices) -> None:
    height, width = cell["size"]
    fits = "" if cell["fits"] else ", DOES NOT FIT"
    print(
        f"{cell['config']} in {cell['precision']}, batch size {cell['batch_size']} at {height}x{width} px, compiled "
        f"for {target}: needs {cell['needed_gib']:.2f} GiB of {cell['program_gib']:.1f} GiB on each device{fits}"
    )
    if "largest_batch" in cell:
        print(f"largest batch that fits: {cell['largest_batch']}")
    if "total" in cell:
        print_kinds(cell)
        print(f"at least {cell['total']['least_ms']:.4g} ms per step: at most {cell['most_images_per_s']:.4g} images/s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
