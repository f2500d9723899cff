"""The numbers of a report as CSV files, for spreadsheets and other programs."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolox_jax.evaluation.coco import FIGURES

Table = tuple[list[str], list[list[Any]]]
"""Column names and rows."""


def tables(document: dict[str, Any], records: list[dict[str, Any]]) -> Iterator[tuple[str, Table]]:
    """File name and content of each table.

    Args:
        document: from `yolox_jax.evaluation.analysis.analyse`.
        records: lines of `metrics.jsonl`; may be empty.
    """
    yield "figures", (["figure", "value"], [[name, document[name]] for name in FIGURES])
    yield "per_class", per_class(document)
    yield "per_iou", (["iou", "AP"], [list(row) for row in document["per_iou"].items()])
    curves = document["curves"]
    columns = {f"IoU {iou}": values for iou, values in curves["per_iou"].items() if values is not None}
    columns |= {name: values for name, values in curves["per_class"].items() if values is not None}
    rows = zip(*columns.values(), strict=True)
    yield "precision_recall", (["recall", *columns], [[recall / 100, *row] for recall, row in enumerate(rows)])
    names = [*document["data"]["class_names"], "background"]
    matrix = document["confusion"]["matrix"]
    rows_of_confusion = [[name, *counts] for name, counts in zip(names, matrix, strict=True)]
    yield "confusion", (["object, detected as", *names], rows_of_confusion)
    yield "errors", errors(document)
    for kind, name in (("train", "training"), ("evaluation", "evaluations")):
        lines = [
            {key: value for key, value in record.items() if isinstance(value, int | float)}
            for record in records
            if record["kind"] == kind
        ]
        if lines:
            keys = list(dict.fromkeys(key for line in lines for key in line))
            yield name, (keys, [[line.get(key) for key in keys] for line in lines])


def per_class(document: dict[str, Any]) -> Table:
    """All figures of each class."""
    figures, points = document["per_class_figures"], document["operating_points"]["per_class"]
    objects = document["data"]["objects_per_class"]
    names = list(next(iter(figures.values())))
    header = ["class", "objects", *names, "threshold", "precision", "recall", "f1"]
    return header, [
        [name, objects[name], *values.values(), *(points[name][key] for key in header[-4:])]
        for name, values in figures.items()
    ]


def errors(document: dict[str, Any]) -> Table:
    """Number and cost of each type of error."""
    of = document["errors"]
    return ["error", "count", "AP50 to gain"], [[kind, of["counts"][kind], cost] for kind, cost in of["costs"].items()]


def write_csv(path: Path, table: Table) -> None:
    """Write a table; None becomes an empty cell."""
    header, rows = table
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
