"""`yolox-jax profile`: times a training step and lists its most expensive operations."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_jax.cli.settings import parse_with_config, requested_config
from yolox_jax.cli.settings_help import STEP_SETTINGS
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder

if TYPE_CHECKING:
    from yolox_jax.training.profiling.trace import Operation

NO_CUDA_GRAPHS = "--xla_gpu_enable_command_buffer="
"""Keeps XLA from merging operations into CUDA graphs, whose parts are not named in a trace."""

USED_SETTINGS = (*STEP_SETTINGS, "seed")


@dataclasses.dataclass(frozen=True)
class ProfileArguments:
    """What to trace, and where to save the trace."""

    steps: int = 3
    """Number of steps to trace."""
    top: int = 20
    """Number of operations to list."""
    output: Path | None = None
    """Folder for the trace. Defaults to runs/profile/NAME, where NAME is the name of the config. Earlier traces in it
    are kept; operations.csv is replaced."""
    num_classes: int = 80
    """Number of classes of the network."""


def main(argv: list[str]) -> None:
    """Traces a step and prints the figures; `argv` is the command line after `profile`."""
    arguments, config = parse_with_config(
        ProfileArguments,
        argv,
        prog="yolox-jax profile",
        description="Time the training step of a config on a synthetic batch and list its most expensive operations. "
        "No data is needed. Open the trace in TensorBoard or Perfetto.",
        uses=USED_SETTINGS,
    )
    for name in ("steps", "top", "num_classes"):
        if (value := getattr(arguments, name)) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    folder = arguments.output or Path("runs") / "profile" / Path(requested_config(argv) or "").stem
    ensure_writable_folder(folder, "--output")
    if NO_CUDA_GRAPHS.rstrip("=") not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {NO_CUDA_GRAPHS}".strip()
    # Imported here, so that --help and errors in flags do not wait for jax, and jax sees XLA_FLAGS.
    import jax

    from yolox_jax.training.profiling.profile_step import profile_step

    height, width = config.data.input_size
    print(f"compiling the step for {height}x{width} px; this can take minutes", file=sys.stderr, flush=True)
    profile = profile_step(config, arguments.num_classes, arguments.steps, folder)
    print(
        f"{config.model.variant} in {config.train.precision}, batch size {config.train.batch_size} at {height}x{width} "
        f"px, {jax.device_count()} x {jax.devices()[0].device_kind}: {profile.step_ms:.1f} ms per step, "
        f"{1000 * config.train.batch_size / profile.step_ms:.4g} images/s; compiled in {profile.compile_seconds:.0f} s"
    )
    _print_tables(profile.operations, arguments.top)
    print(
        f"all operations: {folder / 'operations.csv'}. To see the trace, run `tensorboard --logdir {folder}` with the "
        f"plugin xprof, or open {folder}/plugins/profile/*/*.trace.json.gz at https://ui.perfetto.dev"
    )


def _print_tables(operations: "Sequence[Operation]", top: int) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from yolox_jax.training.profiling.trace import by_kind

    total = sum(operation.ms for operation in operations)
    console = Console()
    table = Table("kind", title="Time by kind of operation, with the profiler on", title_justify="left")
    for name in ("ms per step", "share"):
        table.add_column(name, justify="right")
    for kind, ms in by_kind(operations):
        table.add_row(kind, f"{ms:.2f}", f"{100 * ms / total:.1f} %")
    console.print(table)
    table = Table(
        Column("operation", no_wrap=True, max_width=32),
        Column("from", max_width=30),
        title=f"The most expensive of {len(operations)} operations",
        title_justify="left",
    )
    for name in ("calls", "ms per step", "share"):
        table.add_column(name, justify="right")
    for operation in operations[:top]:
        table.add_row(
            operation.name,
            operation.source,
            f"{operation.calls:g}",
            f"{operation.ms:.2f}",
            f"{100 * operation.ms / total:.1f} %",
        )
    console.print(table)
