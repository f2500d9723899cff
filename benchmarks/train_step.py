"""Measures the speed and memory of our training step, its parts, and the original's training step.

The batch is synthetic and stays on the device, so that only the step is measured. With `--from-host`, the step is also
measured with a transfer of the batch each time. Each implementation runs in its own process. On a CPU the processes
take turns, so that other load affects all of them alike. On a GPU they run one after another, because they could not
share its memory. On a CPU all processes, including the original's, use huge pages for the C library's memory, as our
commands do.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from common import describe_run, ratio, spread, summary, write_json
from original_package import HOW_TO_INSTALL, is_installed
from plots import plot_steps
from processes import BenchmarkProcess, has_gpu, matrix_tflops, take_turns
from step_spec import StepSpec
from yolox_jax.cli.huge_pages import TUNABLES as HUGE_PAGES
from yolox_jax.training.reporting.utilization import TRAINING_PASSES

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy", "pixeltable-yolox", "torch")
SIDES = ("eager", "channels_last", "compile")
BREAKDOWN = ("forward", "network", "loss", "gradients")


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    sides = ["ours", *(side for side in arguments.original if is_installed())]
    if arguments.original and not is_installed():
        print(f"the original: skipped, it is not installed ({HOW_TO_INSTALL})")
    result = describe_run(PACKAGES)
    result["settings"] = {name: value for name, value in vars(arguments).items() if name != "output"}
    result["matrix_tflops"] = (
        {} if arguments.peak_size == 0 else matrix_tflops(arguments.precision, arguments.peak_size)
    )
    result["cases"] = []
    for variant, batch, precision in itertools.product(arguments.variants, arguments.batch, arguments.precision):
        height, width = arguments.size or ((416, 416) if variant in ("yolox_nano", "yolox_tiny") else (640, 640))
        spec = StepSpec(
            *(variant, batch, precision, height, width, arguments.objects),
            rematerialise=arguments.rematerialise,
            fused_conv=arguments.fused_conv,
            deterministic=arguments.deterministic,
        )
        if arguments.compile_only:
            _compile(spec)
            continue
        result["cases"].append(_measure(spec, sides, arguments))
        if arguments.output is not None:
            write_json(arguments.output, result)
    if arguments.compile_only:
        return
    _print_table(result)
    if arguments.output is not None:
        plot_steps(result, arguments.output.with_suffix(".png"))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train_step.py",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog=f"To measure the original too: {HOW_TO_INSTALL}",
    )
    parser.add_argument("--variants", nargs="+", default=["yolox_nano", "yolox_tiny", "yolox_s"], help="networks")
    parser.add_argument("--batch", type=int, nargs="+", default=[4], help="images per step")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["float32", "bfloat16", "float16"],
        default=["float32"],
        help="network precision",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="input size in px (default: as published)"
    )
    parser.add_argument("--objects", type=int, default=50, help="objects per image")
    parser.add_argument(
        "--original",
        nargs="*",
        choices=SIDES,
        default=["channels_last"],
        help="ways to run the original, or none",
    )
    parser.add_argument(
        "--rematerialise", choices=["none", "stage"], default="none", help="what our step computes again"
    )
    parser.add_argument("--fused-conv", action="store_true", help="our step with train.fused_conv")
    parser.add_argument("--deterministic", action="store_true", help="our step with train.deterministic")
    parser.add_argument(
        "--compile-only",
        action="store_true",
        help="compile our step and measure nothing. With JAX_COMPILATION_CACHE_DIR set, a later call finds the program",
    )
    parser.add_argument("--breakdown", action="store_true", help="also time the parts of our step")
    parser.add_argument("--from-host", action="store_true", help="also time our step with the batch sent from the host")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="approximate seconds per part and round")
    parser.add_argument(
        "--peak-size", type=int, default=0, help="measure peak throughput with square matrices of this size; 0 to skip"
    )
    parser.add_argument(
        "--plain-memory", action="store_true", help="on a CPU, do not use huge pages for the C library's memory"
    )
    parser.add_argument("--one-after-another", action="store_true", help="do not take turns, as on a GPU")
    parser.add_argument("--output", type=Path, help="JSON file for the results; a plot is saved next to it")
    return parser.parse_args(argv)


def _compile(spec: StepSpec) -> None:
    process = BenchmarkProcess("step_worker.py", dataclasses.asdict(spec), "ours", ["step"], {})
    process.wait()
    process.close()
    print(f"{spec}: {process.error or 'compiled'}", flush=True)


def _measure(spec: StepSpec, sides: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    parts = ["step"]
    parts += ["step_from_host"] * arguments.from_host
    parts += list(BREAKDOWN) * arguments.breakdown
    memory = {} if arguments.plain_memory else {"GLIBC_TUNABLES": HUGE_PAGES}
    groups = [[side] for side in sides] if arguments.one_after_another or has_gpu() else [list(sides)]
    done: list[BenchmarkProcess] = []
    for group in groups:
        processes = []
        for side in group:
            wanted = parts if side == "ours" else ["step"]
            processes.append(BenchmarkProcess("step_worker.py", dataclasses.asdict(spec), side, wanted, memory))
            processes[-1].wait()
            processes[-1].warm_up()
        take_turns(processes, arguments.rounds, arguments.seconds)
        for one in processes:
            if one.error is not None:
                one.seconds["step"].clear()
            rates = summary([spec.batch / value for value in one.seconds["step"]]) if one.seconds["step"] else None
            print(f"{spec}, {one.side}: {one.error or spread(rates or {}, 2) + ' images/s'}", flush=True)
        done += processes
    return {**dataclasses.asdict(spec), "contestants": [_to_json(spec, one, done[0]) for one in done]}


def _to_json(spec: StepSpec, one: BenchmarkProcess, ours: BenchmarkProcess) -> dict[str, Any]:
    found: dict[str, Any] = {"side": one.side, **one.facts, "memory": one.memory}
    for part, values in one.seconds.items():
        if values:
            found.setdefault("ms", {})[part] = summary([1000 * value for value in values])
    if one.seconds["step"]:
        found["images_per_s"] = summary([spec.batch / value for value in one.seconds["step"]])
        if one is not ours and len(ours.seconds["step"]) == len(one.seconds["step"]):
            found["ours_takes_times"] = ratio(ours.seconds["step"], one.seconds["step"])
    return found


def _print_table(result: dict[str, Any]) -> None:
    table = Table(title="Training step", title_justify="left")
    for name in ("network", "precision", "batch", "size", "by", "images/s", "ms", "ours / this", "of peak", "GiB"):
        table.add_column(name, justify="left" if name in ("network", "precision", "by") else "right")
    for case in result["cases"]:
        gflops = case["contestants"][0].get("gflops", 0.0)
        peak = result["matrix_tflops"].get(case["precision"])
        for one in case["contestants"]:
            row = [case["variant"], case["precision"], str(case["batch"]), f"{case['height']}x{case['width']}"]
            row.append(one["side"])
            if "images_per_s" in one:
                rate = one["images_per_s"]["median"]
                share = TRAINING_PASSES * gflops * rate / 1000 / peak if peak else None
                memory = one["memory"].get("device_bytes") or one["memory"].get("host_bytes") or 0
                row += [
                    f"{rate:.1f}",
                    f"{one['ms']['step']['median']:.1f}",
                    f"{one['ours_takes_times']['median']:.2f}" if "ours_takes_times" in one else "",
                    f"{100 * share:.0f} %" if share is not None else "",
                    f"{memory / 2**30:.1f}",
                ]
            else:
                row += [one.get("error", "")[:60]]
            table.add_row(*row)
    Console(width=140).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
