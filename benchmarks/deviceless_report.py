"""What a compiled training step costs on a described device: kernels by kind, bytes, operations and the least time."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hlo_kernels import Kernel, kernels
from hlo_text import parse
from kernel_kinds import Kind, kind_of
from yolox_jax.training.profiling.cards import Card


@dataclasses.dataclass
class Total:
    """Sums over kernels, for one step on one device."""

    kernels: int = 0
    read_gb: float = 0.0
    written_gb: float = 0.0
    gflop: float = 0.0
    least_ms: float = 0.0

    def add(self, kernel: Kernel, least_ms: float) -> None:
        """Adds all runs of a kernel."""
        self.kernels += kernel.times
        self.read_gb += kernel.times * kernel.read_bytes / 1e9
        self.written_gb += kernel.times * kernel.written_bytes / 1e9
        self.gflop += kernel.times * kernel.flop / 1e9
        self.least_ms += kernel.times * least_ms


def least_ms(kernel: Kernel, card: Card, precision: str) -> float:
    """The least time of one run: that of its bytes, its operations, or its start, whichever is longest.

    0 for transfers between devices, whose links are not described.
    """
    if kernel.collective:
        return 0.0
    moving = (kernel.read_bytes + kernel.written_bytes) / (card.bandwidth_gb_s * 1e6)
    return max(moving, kernel.flop / (card.peak_tflops[precision] * 1e9), card.launch_us / 1e3)


def report(text: str, card: Card, precision: str) -> dict[str, Any]:
    """The figures of an optimized program, ready for JSON.

    Args:
        text: the program, from `jax.stages.Compiled.as_text`.
        card: the device it was compiled for.
        precision: of its convolutions.

    Returns:
        `kinds` and `total`, with the fields of `Total`, and `collectives`: kind, number and bytes on each device.
    """
    found = kernels(parse(text))
    kinds: dict[Kind, Total] = defaultdict(Total)
    total = Total()
    for kernel in found:
        if kernel.collective:
            continue
        time = least_ms(kernel, card, precision)
        kinds[kind_of(kernel)].add(kernel, time)
        total.add(kernel, time)
    by_time = sorted(kinds.items(), key=lambda item: -item[1].least_ms)
    return {
        "kinds": {kind: _rounded(one) for kind, one in by_time},
        "total": _rounded(total),
        "collectives": collectives(found),
    }


def collectives(found: Sequence[Kernel]) -> list[dict[str, Any]]:
    """The transfers between devices: kind, how often, and bytes of their results on each device, without padding."""
    return [
        {
            "kind": kernel.collective,
            "times": kernel.times,
            "bytes": int(sum(array.bytes for array in kernel.instruction.arrays)),
        }
        for kernel in found
        if kernel.collective
    ]


def print_kinds(cell: dict[str, Any]) -> None:
    """Prints the kernels of a report by kind, and the transfers between devices."""
    table = Table("kind")
    for name in ("kernels", "GB read", "GB written", "GFLOP", "least ms"):
        table.add_column(name, justify="right")
    for kind, one in [*cell["kinds"].items(), ("all", cell["total"])]:
        numbers = (f"{one[name]:.2f}" for name in ("read_gb", "written_gb"))
        table.add_row(kind, str(one["kernels"]), *numbers, f"{one['gflop']:.0f}", f"{one['least_ms']:.2f}")
    Console(width=120).print(table)
    for one in cell["collectives"]:
        print(f"{one['times']} {one['kind']} of {one['bytes'] / 1e6:.3f} MB")


def print_longest(text: str, card: Card, precision: str, top: int) -> None:
    """Prints the kernels with the longest least time."""
    table = Table("kernel", "kind", "result", "from", title="The longest kernels")
    for name in ("MB read", "MB written", "least us"):
        table.add_column(name, justify="right")
    found = sorted(kernels(parse(text)), key=lambda kernel: -kernel.times * least_ms(kernel, card, precision))
    for kernel in found[:top]:
        lines = [frame for origin in kernel.origins for frame in origin if "site-packages" not in frame.file]
        arrays = [f"{one.dtype}{list(one.dims)}" for one in kernel.instruction.arrays]
        table.add_row(
            kernel.instruction.name,
            kind_of(kernel),
            ", ".join(arrays[:2]) + f" and {len(arrays) - 2} more" * (len(arrays) > 2),
            f"{lines[0].file.rpartition('/')[2]}:{lines[0].line}" if lines else "",
            f"{kernel.read_bytes / 1e6:.1f}",
            f"{kernel.written_bytes / 1e6:.1f}",
            f"{1e3 * kernel.times * least_ms(kernel, card, precision):.0f}",
        )
    Console(width=160).print(table)


def markdown(cells: Sequence[dict[str, Any]]) -> str:
    """A table of the cells of a file of results, one a line, card by card."""
    lines = [
        "| network | card | precision | batch | GiB | largest batch | kernels | GB moved | at most images/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in sorted(cells, key=lambda one: (one["device"], one["devices"])):
        total = cell.get("total", {})
        moved = total.get("read_gb", 0.0) + total.get("written_gb", 0.0)
        arranged = cell["devices"] == 1 or ":" in cell["device"]  # v5e:2x2 says how many
        card = cell["device"] if arranged else f"{cell['devices']} x {cell['device']}"
        columns = (
            cell["config"],
            card,
            cell["precision"],
            str(cell["batch_size"]),
            f"{cell['needed_gib']:.2f}",
            str(cell.get("largest_batch", "")),
            str(total.get("kernels", "")),
            f"{moved:.1f}" if total else "",
            f"{cell['most_images_per_s']:.0f}" if total else "",
        )
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def _rounded(total: Total) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in dataclasses.asdict(total).items()}
