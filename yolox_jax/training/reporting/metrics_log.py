"""Where the figures of a run go: `metrics.jsonl`, the chosen loggers, and the curves drawn from them."""

import contextlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from yolox_jax.files import null_if_not_finite
from yolox_jax.training.interruption import Interrupted
from yolox_jax.training.reporting.metric_writers import Logger
from yolox_jax.training.run_directory import RunDirectory

log = logging.getLogger("yolox_jax.training")

LOSSES = ("loss", "iou", "objectness", "classification", "l1")
"""Those of a step: their sum, and its parts."""


class MetricsLog:
    """Writes each record as a line of JSON and hands its numbers to the loggers, which it closes at the end.

    Args:
        run: Folder of the run.
        loggers: Where figures and pictures are shown besides.
        resume_step: Steps done. Lines of training after them are dropped, as those steps are done again.
        evaluated_step: Step of the newest evaluation that counts. Those after it are done again, and dropped too.
    """

    def __init__(self, run: RunDirectory, loggers: Sequence[Logger], *, resume_step: int, evaluated_step: int) -> None:
        _drop_lines_after(run.metrics, {"train": resume_step, "evaluation": evaluated_step})
        self._file = run.metrics.open("a")
        self._loggers = loggers

    def write(self, kind: str, *, step: int, epoch: float, figures: dict[str, Any]) -> None:
        """Records `figures` of `kind` ("train" or "evaluation") after `step` steps."""
        try:
            self._file.write(_to_line({"kind": kind, "step": step, "epoch": epoch, **figures}))
            self._file.flush()
        except OSError as error:  # a full disk is no reason to lose the training
            log.warning("the figures of step %d are not in %s: %s", step, self._file.name, error)
        numbers = {f"{kind}/{name}": float(value) for name, value in figures.items() if isinstance(value, int | float)}
        for logger in self._loggers:
            logger.log(numbers, step)

    def write_image(self, name: str, image_rgb: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Shows a picture in the loggers."""
        for logger in self._loggers:
            logger.log_image(name, image_rgb, step)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.ExitStack() as closing:  # all of them, also where one fails
            for logger in self._loggers:
                closing.callback(logger.close, failed=error is not None and not isinstance(error, Interrupted))
            closing.callback(self._close_file)

    def _close_file(self) -> None:
        with contextlib.suppress(OSError):  # of lines that did not fit on the disk; told of already
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line that a killed run left unfinished is ignored."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _drop_lines_after(path: Path, last_steps: dict[str, int]) -> None:
    """Keeps, of each kind of line, those up to its last step."""
    kept = [record for record in read_metrics(path) if record["step"] <= last_steps[record["kind"]]]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(map(_to_line, kept)))
    partial.replace(path)


def _to_line(record: dict[str, Any]) -> str:
    return json.dumps(null_if_not_finite(record)) + "\n"


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draws losses, learning rate and AP against the epoch into a PNG."""
    # Imported here: it takes a second, and a run needs it at evaluations alone.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    train = [record for record in records if record["kind"] == "train"]
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for name in LOSSES:
        axes[0].plot(column_of(train, "epoch"), column_of(train, name), label=name, linewidth=1.5)
    if any("loss" in record for record in evaluations):
        style = {"color": "black", "linestyle": "--", "marker": "o", "markersize": 3}
        style["label"] = "validation loss, without l1"
        axes[0].plot(column_of(evaluations, "epoch"), column_of(evaluations, "loss"), **style)
    axes[0].set_title("losses")
    axes[0].set_yscale("symlog", linthresh=0.1)
    axes[1].plot(column_of(train, "epoch"), column_of(train, "lr"), color="tab:gray")
    axes[1].set_title("learning rate")
    for name in ("AP", "AP50", "AP75"):
        axes[2].plot(column_of(evaluations, "epoch"), column_of(evaluations, name), "o-", label=name, markersize=3)
    axes[2].set_title("validation AP of the averaged weights")
    axes[2].set_ylim(0, 1)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    axes[0].legend(loc="center left", ncols=2)
    axes[2].legend(loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def column_of(records: list[dict[str, Any]], name: str) -> list[float]:
    """One figure of all records, with NaN, which is not drawn, where it is null or missing."""
    return [math.nan if record.get(name) is None else record[name] for record in records]
