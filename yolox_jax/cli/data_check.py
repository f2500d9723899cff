"""`yolox-jax data check`: checks a dataset, or the datasets of a config, for problems."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from yolox_jax.cli.dataset_path import announce_datasets
from yolox_jax.cli.progress import show_progress
from yolox_jax.cli.settings import CONFIG_OF_PATH, parse_with_config, requested_config
from yolox_jax.cli.terminal import say
from yolox_jax.config import DatasetConfig
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.doctor.examine import Report
    from yolox_jax.data.doctor.finding import Finding

CASES_SHOWN = 3
"""Number of cases to print per finding; report.json lists all."""
COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}

USED_SETTINGS = (
    "data.train",
    "data.val",
    "data.classes",
    "data.input_size",
    "data.channels",
    "data.bits",
    "data.tile",
    "data.tile_overlap",
    "data.empty_tiles",
    "data.max_boxes",
    "data.repeat_threshold",
    "data.num_threads",
    "data.broken_images",
    "data.augment.min_visible",
    "data.augment.max_aspect",
    "data.augment.min_final_side_px",
)


@dataclasses.dataclass(frozen=True)
class CheckArguments:
    """What to check, how thorough to be, and where to save the report."""

    path: Annotated[Path | None, tyro.conf.Positional] = None
    """A dataset to check in place of those of the config: a data.yaml (YOLO), a COCO JSON file, or the folder of a
    YOLO, COCO, VOC or Roboflow dataset."""
    output: Path = Path("runs/data-check")
    """Folder for report.json and contact sheets of the findings; those of an earlier check are replaced."""
    quick: bool = False
    """Read only annotations and image headers. Does not find damaged or duplicate images."""


def main(argv: list[str]) -> int:
    """Checks the datasets; `argv` is the command line after `data check`.

    Returns:
        1 if training would fail with these settings, otherwise 0.
    """
    arguments, config = parse_with_config(
        CheckArguments,
        argv,
        prog="yolox-jax data check",
        description="Check the images and annotations of a dataset or config for problems. The exit code is 1 if "
        "training would fail.",
        path_field="path",
        path_suffices=True,
        uses=USED_SETTINGS,
    )
    config_name = requested_config(argv) or CONFIG_OF_PATH
    ensure_writable_folder(arguments.output, "--output")
    if arguments.path is not None:
        announce_datasets(arguments.path, config)
        height, width = config.data.input_size
        say(f"settings of the config {config_name} (--data.input-size {height} {width}); pass --config for another")
    # Imported here, so that --help and errors in flags do not wait for OpenCV.
    from yolox_jax.data.doctor.examine import examine
    from yolox_jax.data.doctor.finding import BOTH
    from yolox_jax.report.data_check import write_data_check

    only_train = arguments.path is not None and config.data.val == DatasetConfig()
    with show_progress("images") as on_progress:
        report = examine(
            config.data,
            quick=arguments.quick,
            splits=("train",) if only_train else BOTH,
            on_progress=on_progress,
        )
    path, num_sheets = write_data_check(report, arguments.output, config=config_name, quick=arguments.quick)
    _print_report(report)
    sheets = f", and {counted(num_sheets, 'contact sheet')}" if num_sheets else ""
    print(f"wrote {path} with all findings{sheets}")
    _print_verdict(report)
    return 1 if report.reasons_to_fail else 0


def _print_report(report: "Report") -> None:
    """Prints tables on a terminal, plain lines elsewhere."""
    console = _console()
    _print_statistics(console, report)
    if console.is_terminal:
        table = Table("", "split", "finding", show_lines=True, title="Findings", title_justify="left")
        for finding in report.findings:
            level = f"[{COLOURS[finding.level]}]{finding.level}[/]"
            table.add_row(level, " and ".join(finding.splits), escape("\n".join(_lines(finding))))
        if report.findings:
            console.print(table)
    else:
        for finding in report.findings:
            head, *rest = _lines(finding)
            console.print(
                "\n  ".join([f"{finding.level}: {' and '.join(finding.splits)}: {head}", *rest]), markup=False
            )


def _print_verdict(report: "Report") -> None:
    console = _console()
    if report.reasons_to_fail:
        reasons = "; ".join(report.reasons_to_fail)
        console.print(f"Training would fail with these settings: {reasons}", markup=False, style="bold red")
    else:
        num_warnings = sum(finding.level == "warning" for finding in report.findings)
        console.print(f"Training can start: 0 errors, {counted(num_warnings, 'warning')}", style="bold green")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=not Console().is_terminal)


def _lines(finding: "Finding") -> list[str]:
    shown = [f"- {case.text}" for case in finding.cases[:CASES_SHOWN]]
    rest = finding.count - len(shown)
    more = [f"- and {rest} more"] if rest else []
    lines = [f"{finding.kind}: {finding.count}", *shown, *more, finding.advice]
    return [line.encode(errors="backslashreplace").decode() for line in lines]


def _print_statistics(console: Console, report: "Report") -> None:
    rows = {
        split: {
            "images": figures.images,
            "without objects": figures.background,
            "boxes": figures.boxes,
            "max. per image": figures.most_boxes,
            "classes": len(figures.boxes_of_class),
            **figures.sizes,
        }
        for split, figures in report.statistics.items()
    }
    if console.is_terminal and rows:
        table = Table("", *rows, title="Dataset summary (boxes by matching stride)", title_justify="left")
        for name in next(iter(rows.values())):
            table.add_row(name, *(str(row[name]) for row in rows.values()))
        console.print(table)
    else:
        for split, row in rows.items():
            console.print(f"{split}: {', '.join(f'{name} {value}' for name, value in row.items())}", markup=False)
