"""`yolox-jax data check`: finds what is wrong or odd with the data sets of a config."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from yolox_jax.cli.progress import show_progress
from yolox_jax.cli.settings import parse_with_config, requested_config
from yolox_jax.data.doctor.examine import Report, examine
from yolox_jax.data.doctor.finding import Finding
from yolox_jax.files import ensure_writable_folder, null_if_not_finite, write_json
from yolox_jax.report.contact_sheets import draw_contact_sheet

CASES_SHOWN = 3
"""Cases of a finding that are printed; report.json has the others."""
COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclasses.dataclass(frozen=True)
class CheckArguments:
    """How thorough the check is and where the report goes."""

    output: Path = Path("runs/data-check")
    """Folder for report.json and pictures of the faults; those of an earlier check are replaced."""
    quick: bool = False
    """Read annotations and the headers of images alone: finds no damaged or duplicate images."""


def main(argv: list[str]) -> int:
    """Checks the data sets; `argv` is the command line after `data check`.

    Returns:
        1 if training would fail with these settings, else 0.
    """
    arguments, config = parse_with_config(
        CheckArguments,
        argv,
        prog="yolox-jax data check",
        description="Find what is wrong or odd with the images and annotations of a config. The exit code is 1 if "
        "training would fail with them.",
    )
    ensure_writable_folder(arguments.output, "--output")
    with show_progress("images") as on_progress:
        report = examine(config.data, quick=arguments.quick, on_progress=on_progress)
    path = arguments.output / "report.json"
    _remove_pictures_named_in(path)
    pictures = [_write_picture(finding, arguments.output) for finding in report.findings]
    content = {
        "config": requested_config(argv),
        "quick": arguments.quick,
        "training_would_fail": bool(report.reasons_to_fail),
        "reasons": list(report.reasons_to_fail),
        "splits": {split: dataclasses.asdict(figures) for split, figures in report.statistics.items()},
        "findings": [_as_json(*entry) for entry in zip(report.findings, pictures, strict=True)],
    }
    write_json(path, null_if_not_finite(content), indent=1)
    _print_report(report, pictures, path)
    return 1 if report.reasons_to_fail else 0


def _remove_pictures_named_in(path: Path) -> None:
    """Remove the pictures of an earlier check; any other file stays."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for finding in json.loads(path.read_bytes())["findings"]:
            if finding["picture"]:
                (path.parent / Path(finding["picture"]).name).unlink(missing_ok=True)


def _write_picture(finding: Finding, folder: Path) -> str | None:
    """Name of the file, where there is something to see."""
    sheet = draw_contact_sheet(finding)
    if sheet is None:
        return None
    words = re.sub(r"[^a-z0-9]+", "-", finding.kind.lower()).strip("-")
    name = f"{finding.level}-{'-'.join(finding.splits)}-{words}.png"
    if not cv2.imwrite(str(folder / name), sheet):
        raise OSError(f"{folder / name} could not be written; is the disk full?")
    return name


def _as_json(finding: Finding, picture: str | None) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "level": finding.level,
        "splits": list(finding.splits),
        "count": finding.count,
        "advice": finding.advice,
        "picture": picture,
        "cases": [
            {
                "text": case.text,
                "images": [str(record.path) for record in case.records],
                "boxes_xyxy": [list(box) for box in case.boxes_xyxy],
            }
            for case in finding.cases
        ],
    }


def _print_report(report: Report, pictures: Sequence[str | None], path: Path) -> None:
    """Tables on a terminal, plain lines elsewhere."""
    console = Console(highlight=False, soft_wrap=not Console().is_terminal)
    _print_statistics(console, report)
    if console.is_terminal:
        table = Table("", "where", "what", show_lines=True, title="Findings", title_justify="left")
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
    drawn = sum(picture is not None for picture in pictures)
    console.print(f"{path} lists everything; beside it are {drawn} pictures", markup=False)
    if report.reasons_to_fail:
        console.print(
            f"Training would fail with these settings: {'; '.join(report.reasons_to_fail)}",
            markup=False,
            style="bold red",
        )
    else:
        console.print("Nothing here stops a training.", style="bold green")


def _lines(finding: Finding) -> list[str]:
    shown = [f"- {case.text}" for case in finding.cases[:CASES_SHOWN]]
    rest = finding.count - len(shown)
    more = [f"- and {rest} more"] if rest else []
    lines = [f"{finding.kind}: {finding.count}", *shown, *more, finding.advice]
    return [line.encode(errors="backslashreplace").decode() for line in lines]


def _print_statistics(console: Console, report: Report) -> None:
    rows = {
        split: {
            "images": figures.images,
            "without objects": figures.background,
            "boxes": figures.boxes,
            "most in an image": figures.most_boxes,
            "classes": len(figures.boxes_of_class),
            **figures.sizes,
        }
        for split, figures in report.statistics.items()
    }
    if console.is_terminal and rows:
        table = Table("", *rows, title="Boxes by size at --data.input-size, and more", title_justify="left")
        for name in next(iter(rows.values())):
            table.add_row(name, *(str(row[name]) for row in rows.values()))
        console.print(table)
    else:
        for split, row in rows.items():
            console.print(f"{split}: {', '.join(f'{name} {value}' for name, value in row.items())}", markup=False)
