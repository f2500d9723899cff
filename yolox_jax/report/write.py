"""Writes a report: the page, its plots as PNG and its numbers as CSV."""

from pathlib import Path

import matplotlib

from yolox_jax.files import ensure_writable_folder
from yolox_jax.report.data import ReportData
from yolox_jax.report.page import render
from yolox_jax.report.plots import plot_style, plots
from yolox_jax.report.tables import tables, write_csv


def write_report(data: ReportData, folder: Path) -> list[str]:
    """Write `report.html`, the plots and the tables into a folder, creating it if needed.

    Args:
        data: from `read_report_data`.
        folder: output folder; `data.folder` is the default of the command.

    Returns:
        The images that could not be shown, each with the reason; the report names them too.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    ensure_writable_folder(folder, "the report's folder")
    page, missing = render(data)
    (folder / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")
    with matplotlib.rc_context(plot_style(data.document)):
        for name, _, figure in plots(data.document, data.records):
            figure.savefig(folder / f"{name}.png", dpi=130)
    for name, table in tables(data.document, data.records):
        write_csv(folder / f"{name}.csv", table)
    return missing
