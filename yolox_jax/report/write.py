"""Writes a report: the page, its plots as PNG and its numbers as CSV."""

from pathlib import Path

from yolox_jax.files import ensure_writable_folder
from yolox_jax.report.data import Material
from yolox_jax.report.page import render
from yolox_jax.report.plots import plots
from yolox_jax.report.tables import tables, write_csv


def write_report(material: Material, folder: Path) -> list[str]:
    """Write `report.html`, the plots and the tables into a folder, which is made where missing.

    Returns:
        The images that could not be shown, each with the reason; the report names them too.

    Raises:
        ConfigError: the folder cannot be written.
    """
    ensure_writable_folder(folder, "the folder of the report")
    page, missing = render(material)
    (folder / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")
    for name, _, figure in plots(material.document, material.records):
        figure.savefig(folder / f"{name}.png", dpi=130)
    for name, table in tables(material.document, material.records):
        write_csv(folder / f"{name}.csv", table)
    return missing
