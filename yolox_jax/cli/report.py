"""`yolox-jax report`: shows an evaluation as one HTML page."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from yolox_jax.cli.parsing import parse


@dataclasses.dataclass(frozen=True)
class ReportArguments:
    """What to show, and where to save it."""

    source: Annotated[Path, tyro.conf.Positional]
    """A run directory, or a JSON file written by `yolox-jax evaluate --output`."""
    output: Path | None = None
    """Folder for report.html, the plots as PNG and the numbers as CSV. By default, `report` in the run directory, or
    `NAME_report` next to the file."""


def main(argv: list[str]) -> None:
    """Writes the report; `argv` is the command line after `report`."""
    arguments = parse(
        ReportArguments,
        argv,
        prog="yolox-jax report",
        description="Show an evaluation as one HTML page: metrics, curves, error types, and the worst images.",
    )
    # Imported here, so that --help does not wait for jax and matplotlib.
    from yolox_jax.report import read_report_data, write_report
    from yolox_jax.text import counted

    data = read_report_data(arguments.source)
    folder = data.folder if arguments.output is None else arguments.output
    missing = write_report(data, folder)
    if missing:
        print(f"warning: {counted(len(missing), 'image')} could not be read, for example {missing[0]}", file=sys.stderr)
    print(f"wrote {folder / 'report.html'}, with the plots as PNG and the numbers as CSV")
