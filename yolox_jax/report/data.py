"""The data of a report: the analysis of an evaluation, and the metrics of its run, if it is part of one."""

import dataclasses
from pathlib import Path
from typing import Any

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.json_file import read_json
from yolox_jax.evaluation.analysis import VERSION
from yolox_jax.evaluation.coco import FIGURES
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.weights import find_weights

KEYS = (
    *FIGURES,
    *("losses", "per_class", "per_iou", "per_class_figures", "curves", "operating_points", "confusion", "errors"),
    *("galleries", "data", "settings", "weights", "environment", "date"),
)
"""The keys of the analysis that a report shows."""


@dataclasses.dataclass(frozen=True)
class ReportData:
    """What a report shows."""

    title: str
    document: dict[str, Any]
    """From `yolox_jax.evaluation.analysis.analyse`."""
    records: list[dict[str, Any]]
    """The lines of the run's `metrics.jsonl`; empty if there is no run."""
    folder: Path
    """Default output folder."""


def read_report_data(path: Path) -> ReportData:
    """Read a run directory or a metrics file.

    Raises:
        ConfigError: `path` is neither, or the run has no evaluation yet.
        FileNotFoundError: the run has no weights yet.
        DataError: the file was not written by `evaluate.py --output`, or by another version of it.
    """
    if path.is_dir():
        run = RunDirectory(path)
        if not run.config.exists():
            raise ConfigError(f"{path} is not a run directory: it has no {run.config.name}.")
        if not run.best_metrics.exists():
            find_weights(path)  # raises if there are none to evaluate
            raise ConfigError(
                f"{path} has no {run.best_metrics.relative_to(path)}, which the first evaluation of a run writes. "
                f"Run evaluate.py --config {path} --weights {path} --output metrics.json and pass metrics.json instead."
            )
        document = read_document(run.best_metrics)
        return ReportData(path.resolve().name, document, read_metrics(run.metrics), path / "report")
    if not path.is_file():
        raise ConfigError(f"{path}: no such run directory or metrics file.")
    return ReportData(path.stem, read_document(path), [], path.with_name(f"{path.stem}_report"))


def read_document(path: Path) -> dict[str, Any]:
    """Read a metrics file.

    Raises:
        DataError: it was not written by `evaluate.py --output`, or by another version of it.
    """
    document = read_json(path)
    if not isinstance(document, dict) or "AP" not in document:
        raise DataError(f"{path} is not a metrics file. Pass a file that evaluate.py --output wrote.")
    version = document.get("version")
    if version != VERSION:
        raise DataError(
            f"{path} has format version {version}, but this program reads version {VERSION}. Regenerate it with "
            "evaluate.py --output."
        )
    missing = [key for key in KEYS if key not in document]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. Regenerate it with evaluate.py --output.")
    return document
