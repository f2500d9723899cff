"""Measures detection latency: preprocessing, network, non-maximum suppression, and all of them together.

Our detector is compared with the original in PyTorch (package `pixeltable-yolox`) and with ONNX Runtime, which runs our
export and PyTorch's export of the original. All use the same weights, and 100 anchors per image pass the score
threshold. Each implementation runs in its own process. On a CPU the processes take turns; on a GPU they run one after
another. Compilation is timed separately.
"""

import argparse
import dataclasses
import importlib.util
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from common import describe_run, ratio, spread, summary, write_json
from latency_spec import PARTS, LatencySpec, prepare
from original_package import HOW_TO_INSTALL, is_installed
from plots import plot_latency
from processes import BenchmarkProcess, has_gpu, matrix_tflops, take_turns
from yolox_jax.config import Variant

PACKAGES = (
    *("yolox-jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless"),
    *("pixeltable-yolox", "torch", "onnx", "onnxruntime"),
)
IN_TORCH = ("eager", "channels_last", "compile")
IN_ONNX_RUNTIME = ("onnx", "torch_onnx")
WITH_BRANCH = ("ours", "onnx")
"""What can run the network with the end-to-end branch."""
PARTS_OF = {"onnx": ("preprocess", "network", "network_nms", "all"), "torch_onnx": ("network",)}
SMALL = ("yolox_nano", "yolox_tiny")
PAPER = ["yolox_s", "yolox_m", "yolox_l", "yolox_x", "yolox_darknet53"]


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    sides = _present(arguments.against)
    result = describe_run(PACKAGES)
    result["settings"] = {name: value for name, value in vars(arguments).items() if name != "output"}
    result["matrix_tflops"] = matrix_tflops(arguments.precision, arguments.peak_size) if arguments.peak_size else {}
    result["cases"] = []
    with tempfile.TemporaryDirectory() as folder:
        for variant in arguments.variants:
            for size in arguments.size or [(416, 416) if variant in SMALL else (640, 640)]:
                for spec in _specs(variant, tuple(size), Path(folder), arguments):
                    able = [side for side in sides if side in WITH_BRANCH or not spec.end_to_end]
                    result["cases"].append(_measure(spec, able, arguments))
                    if arguments.output is not None:
                        write_json(arguments.output, result)
    _print_table(result)
    if arguments.output is not None:
        plot_latency(result, arguments.output.with_suffix(".png"))


def _specs(
    variant: Variant, size: tuple[int, int], folder: Path, arguments: argparse.Namespace
) -> Iterator[LatencySpec]:
    """Yield all calls of a network at one input size, each network next to the same one with the end-to-end branch."""
    branches = (False, True) if arguments.end_to_end else (False,)
    prepared = {branch: prepare(variant, size, folder, end_to_end=branch) for branch in branches}
    for precision, batch, branch in itertools.product(arguments.precision, arguments.batch, branches):
        weights, threshold = prepared[branch]
        yield LatencySpec(variant, batch, precision, *size, str(weights), threshold, end_to_end=branch)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="latency.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", default=["yolox_nano", "yolox_tiny", "yolox_s"], help="networks")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="images per call")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["float32", "bfloat16", "float16"],
        default=["float32"],
        help="network precision",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        action="append",
        metavar=("H", "W"),
        help="input size in px, can be repeated; the published size if omitted",
    )
    parser.add_argument(
        "--against",
        nargs="*",
        choices=[*IN_TORCH, *IN_ONNX_RUNTIME],
        default=["channels_last", "onnx", "torch_onnx"],
        help="implementations to compare with. eager: the original in PyTorch; channels_last: the same in "
        "channels-last layout; compile: channels-last with torch.compile; onnx: our export in ONNX Runtime; "
        "torch_onnx: PyTorch's export of the original in ONNX Runtime",
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="follow the protocol of the YOLOX paper, table 3: s to x and darknet53 at 640, batch 1, half precision, "
        "batch norm folded, without pre- and post-processing (the paper used a V100)",
    )
    parser.add_argument(
        "--end-to-end",
        action="store_true",
        help="measure each network also with the end-to-end branch, which needs no suppression",
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds of measurement")
    parser.add_argument("--seconds", type=float, default=1.0, help="approximate seconds per part and round")
    parser.add_argument(
        "--peak-size", type=int, default=0, help="measure peak throughput with square matrices of this size; 0 to skip"
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results; a plot is saved next to it")
    arguments = parser.parse_args(argv)
    if arguments.paper:
        arguments.variants, arguments.batch, arguments.precision, arguments.size = PAPER, [1], ["float16"], None
    return arguments


def _present(wanted: Sequence[str]) -> list[str]:
    """Return ours and the requested implementations that can run here, and print why the others are skipped."""
    present = ["ours"]
    for side in wanted:
        if side != "onnx" and not is_installed():
            print(f"{side}: skipped, the original is not installed here ({HOW_TO_INSTALL})")
        elif side in IN_ONNX_RUNTIME and not _has("onnx", "onnxruntime"):
            print(f"{side}: skipped, ONNX Runtime is not installed here (pip install onnx onnxruntime)")
        elif side in IN_ONNX_RUNTIME and has_gpu() and not _onnx_runtime_has_gpu():
            print(f"{side}: skipped, this ONNX Runtime cannot use the GPU (pip install onnxruntime-gpu)")
        else:
            present.append(side)
    return present


def _has(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)


def _onnx_runtime_has_gpu() -> bool:
    from onnx_latency import execution_providers

    return execution_providers()[0] != "CPUExecutionProvider"


def _measure(spec: LatencySpec, sides: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    done: list[BenchmarkProcess] = []
    for group in [[side] for side in sides] if has_gpu() else [list(sides)]:
        processes = []
        for side in group:
            parts = PARTS_OF.get(side, PARTS)
            processes.append(BenchmarkProcess("latency_worker.py", dataclasses.asdict(spec), side, parts, {}))
            processes[-1].wait()
            processes[-1].warm_up()
        take_turns(processes, arguments.rounds, arguments.seconds)
        done += processes
    case = {**dataclasses.asdict(spec), "contestants": [_to_json(one, done[0]) for one in done]}
    del case["weights"]
    for one in case["contestants"]:
        ms = one.get("ms", {})
        times = ", ".join(f"{part} {spread(values, 2)}" for part, values in ms.items())
        print(f"{spec}, {one['side']}: {one.get('error') or times + ' ms'}", flush=True)
    return case


def _to_json(one: BenchmarkProcess, ours: BenchmarkProcess) -> dict[str, Any]:
    found: dict[str, Any] = {"side": one.side, **one.facts, "memory": one.memory}
    if one.error is not None:
        return found
    found["ms"] = {part: summary([1000 * value for value in values]) for part, values in one.seconds.items()}
    if one is not ours and ours.error is None:
        found["ours_takes_times"] = {
            part: ratio(ours.seconds[part], values) for part, values in one.seconds.items() if part in ours.seconds
        }
    return found


def _print_table(result: dict[str, Any]) -> None:
    table = Table(title="Detection, ms per batch", title_justify="left")
    for name in ("model", "precision", "batch", "size", "by", *PARTS, "p90", "ours / this", "of peak"):
        table.add_column(name, justify="left" if name in ("model", "precision", "by") else "right")
    for case in result["cases"]:
        for one in case["contestants"]:
            network = case["variant"].removeprefix("yolox_") + " end-to-end" * case["end_to_end"]
            row = [network, case["precision"], str(case["batch"])]
            row += [f"{case['height']}x{case['width']}", one["side"]]
            if "ms" in one:
                row += [f"{one['ms'][part]['median']:.2f}" if part in one["ms"] else "" for part in PARTS]
                row += [*_compare_largest_part(one), _share_of_peak(one, case, result)]
            else:
                row.append(one.get("error", "")[:60])
            table.add_row(*row)
    Console(width=160).print(table)
    print("p90 and ours / this: network and suppression, or the network alone where suppression is not measured")


def _compare_largest_part(one: dict[str, Any]) -> list[str]:
    part = "network_nms" if "network_nms" in one["ms"] else "network"
    compared = one.get("ours_takes_times", {}).get(part)
    return [f"{one['ms'][part]['p90']:.2f}", f"{compared['median']:.2f}" if compared else ""]


def _share_of_peak(one: dict[str, Any], case: dict[str, Any], result: dict[str, Any]) -> str:
    peak = result["matrix_tflops"].get(case["precision"])
    if not peak or "gflops" not in case["contestants"][0]:
        return ""
    seconds = one["ms"]["network"]["median"] / 1000
    return f"{100 * case['contestants'][0]['gflops'] * case['batch'] / 1000 / seconds / peak:.0f} %"


if __name__ == "__main__":
    main(sys.argv[1:])
