"""The table of a run: one line for each epoch, at most 80 columns wide, or 87 for an end-to-end network.

A figure with a long name, such as the AP of a class (`evaluation.best_by`), adds up to six more.
"""

import math
from collections.abc import Mapping
from typing import Any

from yolox_jax.training.reporting.durations import format_duration

HEADER_EVERY = 25
"""Lines after which the header is repeated."""

WIDEST_FIGURE = 12
"""Characters of the name of a figure; longer ones are cut."""

_LOSSES = {"loss": "loss", "iou": "iou", "objectness": "obj", "classification": "cls", "l1": "l1", "one_to_one": "one"}
"""Headers of the losses, by the name of the metric."""

_NOT_ALWAYS = ("l1", "one_to_one")
"""Losses that have no column as long as they are 0 or missing."""


class EpochTable:
    """Averages the logged losses of each epoch and formats its line.

    A column appears with its first value: `l1` with the L1 loss, `one` with an end-to-end network, `val` (the
    validation loss) and `AP` with the first evaluation. The figure that the best weights are chosen by stands in the
    place of AP50, unless it is AP.
    """

    def __init__(self, epochs: int, best_by: str = "AP") -> None:
        """`best_by`, if not AP, is the figure that is shown in place of AP50."""
        self._other_figure = "AP50" if best_by == "AP" else best_by
        cut = self._other_figure[: WIDEST_FIGURE - 1] + "…"  # the name of a class may be long
        self._other_header = self._other_figure if len(self._other_figure) <= WIDEST_FIGURE else cut
        self._epochs = epochs
        self._width = max(len(f"{epochs}/{epochs}"), len("epoch"))
        self._columns: dict[str, int] = {}
        self._lines_since_header = 0
        self._restart()

    def _restart(self) -> None:
        self._sums = dict.fromkeys(_LOSSES, 0.0)
        self._num_steps = 0
        self._learning_rate = math.nan

    def add(self, metrics: Mapping[str, float], num_steps: int) -> None:
        """Adds the means of `num_steps` steps. They are not finite if all of these steps were skipped."""
        self._learning_rate = metrics.get("lr", math.nan)
        if math.isfinite(metrics.get("loss", math.nan)):
            self._num_steps += num_steps
            for name in self._sums:
                self._sums[name] += num_steps * metrics.get(name, math.nan)

    def lines(self, epoch: int, evaluation: Mapping[str, Any] | None, seconds: float) -> list[str]:
        """The line of an epoch that has ended, below a header where one is needed; starts the next epoch.

        Args:
            epoch: counted from 1.
            evaluation: metrics of the evaluation of this epoch, if there was one.
            seconds: how long the epoch took.
        """
        cells = {"epoch": f"{epoch}/{self._epochs}".rjust(self._width)}
        for name, header in _LOSSES.items():
            mean = self._sums[name] / self._num_steps if self._num_steps else math.nan
            if name not in _NOT_ALWAYS or mean > 0:
                cells[header] = _three_digits(mean).rjust(6)
        if evaluation is not None:
            if "loss" in evaluation:
                cells["val"] = _three_digits(evaluation["loss"]).rjust(6)
            for name, header in zip(("AP", self._other_figure), ("AP", self._other_header), strict=True):
                value = evaluation.get(name)
                cells[header] = ("-" if value is None else f"{value:.4f}").rjust(max(6, len(header)))
        cells["lr"] = ("-" if math.isnan(self._learning_rate) else f"{self._learning_rate:.2g}").rjust(7)
        cells["time"] = format_duration(seconds).rjust(8)
        self._restart()
        return self._aligned(cells)

    def _aligned(self, cells: dict[str, str]) -> list[str]:
        in_order = ["epoch", *_LOSSES.values(), "val", "AP", self._other_header, "lr", "time"]
        columns = {name: len(cells[name]) if name in cells else self._columns.get(name, 0) for name in in_order}
        columns = {name: width for name, width in columns.items() if width}
        line = " ".join(cells.get(name, "").rjust(width) for name, width in columns.items())
        if columns.keys() == self._columns.keys() and self._lines_since_header < HEADER_EVERY:
            self._lines_since_header += 1
            return [line]
        self._columns, self._lines_since_header = columns, 1
        return [" ".join(name.rjust(width) for name, width in columns.items()), line]


def _three_digits(value: float | None) -> str:
    """A loss in at most six characters."""
    if value is None or not math.isfinite(value):
        return "-"
    if 1000 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.0e}"
