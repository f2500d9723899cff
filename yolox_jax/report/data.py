"""What a report is made of: the document of an evaluation, and the run that it is part of, if any."""

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

KEYS = (
    *FIGURES,
    *("losses", "per_class", "per_iou", "per_class_figures", "curves", "operating_points", "confusion", "errors"),
    *("galleries", "data", "settings", "weights", "environment", "date"),
)
"""What a report shows of an evaluation."""


@dataclasses.dataclass(frozen=True)
class Material:
    """What a report shows."""

    title: str
    document: dict[str, Any]
    """From `yolox_jax.evaluation.analysis.analyse`."""
    records: list[dict[str, Any]]
    """The lines of `metrics.jsonl` of the run; empty where the document is on its own."""
    folder: Path
    """Where the report belongs by default."""


def read_material(path: Path) -> Material:
    """Read a run directory or a metrics file.

    Raises:
        ConfigError: there is neither at `path`, or the run has no evaluation yet.
        DataError: the file is not what `evaluate.py --output` writes, or of another version of it.
    """
    if path.is_dir():
        run = RunDirectory(path)
        if not run.config.exists():
            raise ConfigError(f"{path} is no run directory: it has no {run.config.name}")
        if not run.best_metrics.exists():
            raise ConfigError(
                f"{path} has no {run.best_metrics.relative_to(path)}, which the first evaluation of a run writes; "
                f"score its weights with evaluate.py --config {path} --weights {path} --output metrics.json and report "
                "on that file"
            )
        document = read_document(run.best_metrics)
        return Material(path.resolve().name, document, read_metrics(run.metrics), path / "report")
    if not path.is_file():
        raise ConfigError(f"{path}: no such run directory or metrics file")
    return Material(path.stem, read_document(path), [], path.with_name(f"{path.stem}_report"))


def read_document(path: Path) -> dict[str, Any]:
    """Read what `evaluate.py --output` wrote.

    Raises:
        DataError: it is something else.
    """
    document = read_json(path)
    if not isinstance(document, dict) or "AP" not in document:
        raise DataError(f"{path} holds no figures of an evaluation: give a file that evaluate.py --output wrote")
    version = document.get("version")
    if version != VERSION:
        raise DataError(
            f"{path} is of version {version}, and this program reads version {VERSION}: write it anew with "
            "evaluate.py --output"
        )
    missing = [key for key in KEYS if key not in document]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}: write it anew with evaluate.py --output")
    return document
