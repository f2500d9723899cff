"""The metrics of a run: `metrics.jsonl`, the metric writers, and the curves drawn from them."""

import contextlib
import json
import logging
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from yolox_jax.files import atomic_write, null_if_not_finite
from yolox_jax.training.interruption import Interrupted
from yolox_jax.training.reporting.metric_writers import MetricWriter
from yolox_jax.training.run_directory import RunDirectory

logger = logging.getLogger("yolox_jax.training")

LOSSES = ("loss", "iou", "objectness", "classification", "l1", "one_to_one")
"""Metric names of the total loss and its parts; the last for end-to-end networks only."""


class MetricsLog:
    """Writes each record as a line of JSON and passes its numbers to the metric writers, which it closes at the end.

    Args:
        run: the run directory.
        resume_step: steps done so far. Lines of later steps are dropped, because the run repeats those steps.
        evaluated_step: step of the newest evaluation to keep. Lines of later evaluations are dropped too.
    """

    def __init__(self, run: RunDirectory, *, resume_step: int, evaluated_step: int) -> None:
        _drop_lines_after(run.metrics, {"train": resume_step, "evaluation": evaluated_step})
        self._file = run.metrics.open("a")
        self.writers: list[MetricWriter] = []
        """Also receive the metrics and images. Opened by the caller, closed with the log."""

    def write(self, kind: str, *, step: int, epoch: float, metrics: dict[str, Any]) -> None:
        """Records `metrics` of `kind` ("train" or "evaluation") after `step` steps."""
        try:
            self._file.write(_to_line({"kind": kind, "step": step, "epoch": epoch, **metrics}))
            self._file.flush()
        except OSError as error:  # training continues even when the disk is full
            logger.warning("the metrics of step %d could not be written to %s: %s", step, self._file.name, error)
        numbers = {f"{kind}/{name}": float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        for writer in self.writers:
            writer.write_scalars(step, numbers)

    def write_image(self, step: int, name: str, image_rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Passes an image to the metric writers."""
        for writer in self.writers:
            writer.write_image(step, name, image_rgb)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.ExitStack() as closing:  # closes all of them, even if one fails
            for writer in self.writers:
                closing.callback(writer.close, failed=error is not None and not isinstance(error, Interrupted))
            closing.callback(self._close_file)

    def _close_file(self) -> None:
        with contextlib.suppress(OSError):  # raised again for lines that did not fit on the disk; logged before
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`. An incomplete last line, left by a killed run, is ignored."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _drop_lines_after(path: Path, last_steps: dict[str, int]) -> None:
    """Keeps the lines of each kind up to its last step."""
    kept = [record for record in read_metrics(path) if record["step"] <= last_steps[record["kind"]]]
    with atomic_write(path) as temporary:
        temporary.write_text("".join(map(_to_line, kept)))


def _to_line(record: dict[str, Any]) -> str:
    return json.dumps(null_if_not_finite(record)) + "\n"


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Plots losses, learning rate and AP over the epochs, as a PNG."""
    # Imported here because it takes a second, and training needs it only when it evaluates.
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    train = [record for record in records if record["kind"] == "train"]
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    # Not through pyplot, which would set a global backend.
    figure = Figure(figsize=(15, 4.2), layout="constrained")
    losses, learning_rate, ap = figure.subplots(1, 3)
    for name in losses_in(train):
        # The l1 loss is 0 until the last epochs, which has no place on a logarithmic axis.
        values = [value if value > 0 else math.nan for value in column_of(train, name)]
        losses.plot(column_of(train, "epoch"), values, label=name, linewidth=1.5)
    if any("loss" in record for record in evaluations):
        style = {"color": "black", "linestyle": "--", "marker": "o", "markersize": 3}
        style["label"] = "validation loss, without l1"
        losses.plot(column_of(evaluations, "epoch"), column_of(evaluations, "loss"), **style)
    losses.set_title("losses")
    losses.set_yscale("log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(NullFormatter())
    learning_rate.plot(column_of(train, "epoch"), column_of(train, "lr"), color="tab:gray")
    learning_rate.set_title("learning rate")
    for name in figures_in(evaluations):
        ap.plot(column_of(evaluations, "epoch"), column_of(evaluations, name), "o-", label=name, markersize=3)
    ap.set_title("validation of the averaged weights")
    ap.set_ylim(0, 1)
    for axes in (losses, learning_rate, ap):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for axes in (losses, ap):  # below, where they cover no curve
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, columnspacing=1, frameon=False)
    figure.savefig(path, dpi=110)


def losses_in(records: list[dict[str, Any]]) -> list[str]:
    """The losses that a run has: `LOSSES`, without `one_to_one` if no record has it."""
    return [name for name in LOSSES if name != "one_to_one" or any(name in record for record in records)]


def figures_in(evaluations: list[dict[str, Any]]) -> list[str]:
    """The figures to plot: AP, AP50 and AP75, and the one that the best weights are chosen by."""
    chosen = [record["best_by"] for record in evaluations[-1:] if "best_by" in record]
    return list(dict.fromkeys(("AP", "AP50", "AP75", *chosen)))


def column_of(records: list[dict[str, Any]], name: str) -> list[float]:
    """One metric of all records; NaN, which is not drawn, where it is null or missing."""
    return [math.nan if record.get(name) is None else record[name] for record in records]
