"""Prints an evaluation."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.coco import CocoMetrics
from yolox_jax.text import counted


def print_metrics(metrics: CocoMetrics, dataset: Dataset, losses: dict[str, float] | None = None) -> None:
    """Print the COCO figures, the losses if given, and a table with the AP of each class."""
    console = Console(highlight=False, markup=False)
    detections, images = counted(metrics.num_detections, "detection"), counted(metrics.num_images, "image")
    console.print(f"{detections} in {images} of {dataset.name}")
    left_out = len(dataset.records) - metrics.num_images
    if left_out:
        console.print(f"{counted(left_out, 'unreadable image')} excluded from all figures")
    figures = Table("figure", "value", title="COCO figures", title_justify="left")
    for name, value in metrics.figures.items():
        figures.add_row(name, _format(value))
    console.print(figures)
    if losses is not None:
        console.print("losses: " + ", ".join(f"{name} {value:.4g}" for name, value in losses.items()))
    console.print(_per_class_table(metrics.per_class, "AP per class"))


def print_voc(per_class: dict[str, float], style: str) -> None:
    """Print the Pascal VOC AP of each class, with the mean as the title."""
    known = [value for value in per_class.values() if not math.isnan(value)]
    mean = sum(known) / len(known) if known else math.nan
    title = f"AP as in VOC20{style}, IoU 0.5: mean {_format(mean)}"
    Console(highlight=False).print(_per_class_table(per_class, title))


def _per_class_table(per_class: dict[str, float], title: str, columns: int = 3) -> Table:
    columns = min(columns, max(len(per_class), 1))
    table = Table(*("class", "AP") * columns, title=title, title_justify="left")
    cells = [cell for name, value in per_class.items() for cell in (escape(name), _format(value))]
    for start in range(0, len(cells), 2 * columns):
        table.add_row(*cells[start : start + 2 * columns])
    return table


def _format(value: float) -> str:
    """Formats NaN as a dash: the dataset has no objects to score."""
    return "-" if math.isnan(value) else f"{value:.4f}"
