"""Writes the findings of `yolox-jax data check`: report.json, and a contact sheet for each finding with a picture."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_jax.data.doctor.examine import Report
from yolox_jax.data.doctor.finding import Finding
from yolox_jax.files import null_if_not_finite, write_json
from yolox_jax.inference.picture_files import write_picture
from yolox_jax.report.contact_sheets import draw_contact_sheet


def write_data_check(report: Report, folder: Path, *, config: str | None, quick: bool) -> tuple[Path, int]:
    """Writes report.json and the contact sheets; those of an earlier check are replaced.

    Args:
        report: What `examine` found.
        folder: Where to write; it must exist.
        config: The name or path of the config, for the record.
        quick: Whether the check was a quick one, for the record.

    Returns:
        The path of report.json, and the number of contact sheets.
    """
    path = folder / "report.json"
    _remove_earlier_sheets(path)
    sheets = [_write_sheet(finding, folder) for finding in report.findings]
    content = {
        "config": config,
        "quick": quick,
        "training_would_fail": bool(report.reasons_to_fail),
        "reasons": list(report.reasons_to_fail),
        "splits": {split: dataclasses.asdict(figures) for split, figures in report.statistics.items()},
        "findings": _findings_as_json(report.findings, sheets),
    }
    write_json(path, null_if_not_finite(content), indent=1)
    return path, sum(sheet is not None for sheet in sheets)


def _remove_earlier_sheets(path: Path) -> None:
    """Removes the contact sheets that an earlier report lists, and no other file."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for finding in json.loads(path.read_bytes())["findings"]:
            if finding["picture"]:
                (path.parent / Path(finding["picture"]).name).unlink(missing_ok=True)


def _write_sheet(finding: Finding, folder: Path) -> str | None:
    """The name of the file, or None if there is nothing to draw."""
    sheet = draw_contact_sheet(finding)
    if sheet is None:
        return None
    kind = re.sub(r"[^a-z0-9]+", "-", finding.kind.lower()).strip("-")
    name = f"{finding.level}-{'-'.join(finding.splits)}-{kind}.png"
    write_picture(folder / name, sheet)
    return name


def _findings_as_json(findings: Sequence[Finding], sheets: Sequence[str | None]) -> list[dict[str, Any]]:
    return [
        {
            "kind": finding.kind,
            "level": finding.level,
            "splits": list(finding.splits),
            "count": finding.count,
            "advice": finding.advice,
            "picture": sheet,
            "cases": [
                {
                    "text": case.text,
                    "images": [str(record.path) for record in case.records],
                    "boxes_xyxy": [list(box) for box in case.boxes_xyxy],
                }
                for case in finding.cases
            ],
        }
        for finding, sheet in zip(findings, sheets, strict=True)
    ]
