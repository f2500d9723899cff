"""`yolox-jax profile`: times a training step and lists its costliest operations."""

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_jax.cli.settings import parse_with_config, requested_config
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder

if TYPE_CHECKING:
    from yolox_jax.training.profiling.trace import Operation

WARM_UP = 2
NO_GRAPHS = "--xla_gpu_enable_command_buffer="
"""Keeps XLA from joining operations into CUDA graphs, whose parts a trace does not name."""


@dataclasses.dataclass(frozen=True)
class ProfileArguments:
    """What to trace, and where to."""

    steps: int = 3
    """Steps in the trace."""
    top: int = 20
    """Operations in the table."""
    output: Path | None = None
    """Folder of the trace; runs/profile and the name of the config if not given. Earlier traces in it stay; its
    operations.csv is replaced."""
    num_classes: int = 80
    """Classes that the network tells apart."""


def main(argv: list[str]) -> None:
    """Traces and prints; `argv` is the command line after `profile`."""
    arguments, config = parse_with_config(
        ProfileArguments,
        argv,
        prog="yolox-jax profile",
        description="Time the training step of a config on a made-up batch, which needs no data, and list what it "
        "spends its time on. The trace can be opened in TensorBoard or Perfetto.",
    )
    for name in ("steps", "top"):
        if getattr(arguments, name) < 1:
            raise ConfigError(f"--{name} {getattr(arguments, name)}: at least 1 is needed")
    folder = arguments.output or Path("runs") / "profile" / Path(requested_config(argv) or "").stem
    ensure_writable_folder(folder, "--output")
    if NO_GRAPHS.rstrip("=") not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {NO_GRAPHS}".strip()
    # Here, so that the help and wrong flags are answered before jax is loaded, and jax sees the flags.
    import jax

    from yolox_jax.training.profiling import trace
    from yolox_jax.training.profiling.prepared_step import PreparedStep

    height, width = config.data.input_size
    print(f"compiling the step for {height}x{width} px; this can take minutes", file=sys.stderr, flush=True)
    start = time.perf_counter()
    prepared = PreparedStep(config, arguments.num_classes)
    compiled = prepared.lower(config.data.input_size).compile()
    print(f"compiled in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    run = prepared.runner(compiled)
    for _ in range(WARM_UP):
        jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready([run() for _ in range(arguments.steps)])
    step_ms = 1000 * (time.perf_counter() - start) / arguments.steps
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready([run() for _ in range(arguments.steps)])

    found = trace.operations(trace.read_trace(folder), trace.sources(compiled.as_text() or ""), arguments.steps)
    trace.write_csv(found, folder / "operations.csv")
    rate = 1000 * config.train.batch_size / step_ms
    print(
        f"{config.model.variant} in {config.train.precision}, batch {config.train.batch_size} at {height}x{width} px, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}: {step_ms:.1f} ms a step, {rate:.4g} images/s"
    )
    _print_tables(found, trace.by_kind(found), arguments.top)
    print(
        f"all operations: {folder / 'operations.csv'}; the trace: `tensorboard --logdir {folder}` (with the plugin "
        f"xprof), or open {folder}/plugins/profile/*/*.trace.json.gz at https://ui.perfetto.dev"
    )


def _print_tables(found: "Sequence[Operation]", kinds: Sequence[tuple[str, float]], top: int) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    total = sum(operation.ms for operation in found)
    console = Console()
    table = Table("kind", title="Where the time goes, with the profiler on", title_justify="left")
    for name in ("ms a step", "share"):
        table.add_column(name, justify="right")
    for kind, ms in kinds:
        table.add_row(kind, f"{ms:.2f}", f"{100 * ms / total:.1f} %")
    console.print(table)
    table = Table(
        Column("operation", no_wrap=True, max_width=32),
        Column("from", max_width=30),
        title=f"The costliest of {len(found)} operations",
        title_justify="left",
    )
    for name in ("calls", "ms a step", "share"):
        table.add_column(name, justify="right")
    for operation in found[:top]:
        table.add_row(
            operation.name,
            operation.source,
            f"{operation.calls:g}",
            f"{operation.ms:.2f}",
            f"{100 * operation.ms / total:.1f} %",
        )
    console.print(table)
