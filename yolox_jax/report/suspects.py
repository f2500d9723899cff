"""Writes what `yolox-jax data suspects` finds: suspects.json, contact sheets and a page."""

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolox_jax.data.dataset import Record
from yolox_jax.evaluation.suspects import SuspectKind
from yolox_jax.files import write_json
from yolox_jax.inference.picture_files import write_picture
from yolox_jax.report.contact_sheets import Picture, View, arrange, with_caption
from yolox_jax.report.suspect_pictures import caption, draw_suspect
from yolox_jax.report.suspects_page import suspects_page

CELLS_PER_SHEET = 20
"""Suspects on one contact sheet: five rows, less than 2,000 px high."""


def write_suspects(
    document: dict[str, Any],
    records: Sequence[Record],
    folder: Path,
    *,
    top: int,
    on_progress: Callable[[int, int], None],
) -> Path:
    """Write suspects.json with all suspects, suspects.html and contact sheets with the first of each kind.

    Contact sheets that an earlier suspects.json lists are removed, and no other file.

    Args:
        document: from `describe_suspects`; the file adds `sheets`, the names of the contact sheets.
        records: the images of the dataset.
        folder: output folder, which must exist.
        top: number of suspects of each kind to draw.
        on_progress: called with the number of suspects drawn and the number to draw.

    Returns:
        The path of the page.
    """
    listing, page = folder / "suspects.json", folder / "suspects.html"
    _remove_earlier_sheets(listing)
    record_of = {record.image_id: record for record in records}
    by_kind = {kind: [entry for entry in document["suspects"] if entry["kind"] == kind][:top] for kind in SuspectKind}
    shown = [entry for entries in by_kind.values() for entry in entries]
    views: dict[int, View | None] = {}
    for entry in shown:
        views[entry["rank"]] = draw_suspect(entry, record_of[entry["image_id"]])
        on_progress(len(views), len(shown))
    sheets: dict[str, Picture] = {}
    for kind, entries in by_kind.items():
        sheets |= _sheets(kind, entries, views)
    for name, sheet in sheets.items():
        write_picture(folder / name, sheet)
    write_json(listing, {**document, "sheets": list(sheets)}, indent=1)
    page.write_text(suspects_page(document, views), encoding="utf-8", errors="backslashreplace")
    return page


def _remove_earlier_sheets(listing: Path) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for name in json.loads(listing.read_bytes())["sheets"]:
            (listing.parent / Path(name).name).unlink(missing_ok=True)


def _sheets(kind: SuspectKind, entries: Sequence[dict[str, Any]], views: dict[int, View | None]) -> dict[str, Picture]:
    """Contact sheets by name, best first, without images that cannot be read."""
    cells = []
    for entry in entries:
        view = views[entry["rank"]]
        if view is not None:
            cells.append(with_caption(view, caption(entry)))
    starts = range(0, len(cells), CELLS_PER_SHEET)
    return {
        f"{kind}-{number}.png": arrange(cells[start : start + CELLS_PER_SHEET])
        for number, start in enumerate(starts, start=1)
    }
