"""The plots of a report as matplotlib figures, for the page and for PNG files.

The figures use no backend and change no matplotlib settings, so plots in the caller's notebook are unaffected.
matplotlib reads some settings when it draws, so build and save the figures within
`matplotlib.rc_context(plot_style(document))`.
"""

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolox_jax.report.class_labels import class_labels
from yolox_jax.training.reporting.metrics_log import column_of, figures_in, losses_in

MOST_BARS = 40
"""Maximum number of classes in a bar plot; more would be unreadable."""

MOST_NAMED = 100
"""Maximum number of classes for which the confusion matrix has labels."""


def plot_style(document: dict[str, Any]) -> Any:
    """Settings of matplotlib for the plots of a document from `analyse`.

    Class names may contain dollar signs, which would start a formula, and letters that the usual font does not have.
    """
    fonts = class_labels(document["data"]["class_names"]).fonts
    return {"text.parse_math": False, "font.family": [*matplotlib.rcParams["font.family"], *fonts]}


def plots(document: dict[str, Any], records: list[dict[str, Any]]) -> Iterator[tuple[str, str, Figure]]:
    """File name, heading and figure of each plot that has something to show.

    Args:
        document: from `analyse`.
        records: lines of `metrics.jsonl`; may be empty.
    """
    if any(record["kind"] == "evaluation" for record in records):
        yield "training", "Training", training_curves(records)
    yield "precision_recall", "Precision-recall curves", precision_recall(document)
    yield "per_iou_and_size", "AP by IoU threshold and object size", ap_by_iou_and_size(document)
    yield "per_class", "AP by class", ap_by_class(document)
    yield "errors", "Cost of each error type", error_costs(document)
    yield "confusion", "Confusion matrix", confusion(document)


def training_curves(records: list[dict[str, Any]]) -> Figure:
    """Training and validation losses, AP, and the learning rate against the epoch."""
    train = [record for record in records if record["kind"] == "train"]
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for number, name in enumerate(losses_in(train)):
        colour = f"C{number}"
        axes[0].plot(column_of(train, "epoch"), column_of(train, name), color=colour, label=name, linewidth=1)
        if any(name in record for record in evaluations):
            label = "loss (without l1)" if name == "loss" else name
            axes[1].plot(column_of(evaluations, "epoch"), column_of(evaluations, name), "o-", color=colour, label=label)
    for axis, title in ((axes[0], "training losses"), (axes[1], "validation losses")):
        axis.set_title(title)
        axis.set_ylim(0, 1.3 * axis.get_ylim()[1])  # room for the legend
        if axis.lines:
            axis.legend(frameon=False, loc="upper right", ncols=2)
    for name in figures_in(evaluations):
        axes[2].plot(column_of(evaluations, "epoch"), column_of(evaluations, name), "o-", label=name)
    axes[2].set_title("validation of the averaged weights")
    axes[2].set_ylim(0, 1)
    axes[2].legend(frameon=False)
    axes[3].plot(column_of(train, "epoch"), column_of(train, "lr"))
    axes[3].set_title("learning rate")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axis)
    return figure


def precision_recall(document: dict[str, Any]) -> Figure:
    """Precision at 101 recalls: the mean over classes at IoU 0.5, 0.75 and 0.5:0.95, and each class at 0.5."""
    curves, labels = document["curves"], class_labels(document["data"]["class_names"]).labels
    recall = np.linspace(0, 1, 101)
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    mean, classes = figure.subplots(1, 2, sharey=True)
    for iou, precision in curves["per_iou"].items():
        if precision is not None:
            mean.plot(recall, precision, label=f"IoU {iou}")
    mean.set_title("mean over classes")
    if mean.lines:
        mean.legend(frameon=False)
    known = {name: values for name, values in curves["per_class"].items() if values is not None}
    few = len(known) <= 10
    for values in known.values():
        classes.plot(recall, values, **({} if few else {"color": "C0", "alpha": 0.25, "linewidth": 0.8}))
    if few and known:
        # As arguments: a label that a line has is left out of the legend if it starts with an underscore.
        classes.legend(classes.lines, [labels[name] for name in known], frameon=False)
    classes.set_title("each class at IoU 0.50" if few else f"each of {len(known)} classes at IoU 0.50")
    for axis in (mean, classes):
        axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        tidy(axis)
    return figure


def ap_by_iou_and_size(document: dict[str, Any]) -> Figure:
    """AP at each IoU threshold, where a steep drop means poor localisation; AP and AR by object size."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    by_iou, by_size = figure.subplots(1, 2, sharey=True)
    values = document["per_iou"]
    by_iou.bar(list(values), [value or 0 for value in values.values()])
    by_iou.set(xlabel="IoU threshold", ylabel="AP", ylim=(0, 1))

    sizes = ("small", "medium", "large")
    places = np.arange(3)
    for shift, name in ((-0.2, "AP"), (0.2, "AR")):
        by_size.bar(places + shift, [document[f"{name}_{size}"] or 0 for size in sizes], 0.38, label=name)
    counts = document["data"]["objects_per_area"]
    by_size.set_xticks(places, [f"{size}\n{counts[size]} objects" for size in sizes])
    by_size.set_ylabel("AP, AR")
    by_size.legend(frameon=False, loc="upper left")
    for axis in (by_iou, by_size):
        tidy(axis)
    return figure


def ap_by_class(document: dict[str, Any]) -> Figure:
    """AP of each class, best first. If there are many classes, only the best and worst are shown."""
    known = sorted(((v, k) for k, v in document["per_class"].items() if v is not None), reverse=True)
    title = ""
    if len(known) > MOST_BARS:
        title = f"the {MOST_BARS // 2} best and {MOST_BARS // 2} worst of {len(known)} classes"
        known = known[: MOST_BARS // 2] + known[-MOST_BARS // 2 :]
    figure = Figure(figsize=(10, max(1.6, 0.8 + 0.2 * len(known))), layout="constrained")
    axis = figure.subplots()
    labels = class_labels(document["data"]["class_names"]).labels
    names = [labels[name] for _, name in reversed(known)]
    axis.barh(range(len(known)), [value for value, _ in reversed(known)])
    axis.set_yticks(range(len(known)), names)
    axis.set(xlabel="AP", xlim=(0, 1), title=title)
    axis.margins(y=0.01)
    tidy(axis)
    return figure


def error_costs(document: dict[str, Any]) -> Figure:
    """Gain in AP50 from correcting all errors of each type, and their number."""
    errors = document["errors"]
    kinds = list(errors["costs"])
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axis = figure.subplots()
    costs = [errors["costs"][kind] for kind in kinds]
    bars = axis.bar(range(len(kinds)), [cost or 0 for cost in costs])
    axis.bar_label(bars, ["undefined" if cost is None else f"{cost:.3f}" for cost in costs])
    axis.set_xticks(range(len(kinds)), [f"{kind}\n{errors['counts'][kind]} errors" for kind in kinds])
    axis.set_ylabel("AP50 gain if corrected")
    axis.margins(y=0.15)
    tidy(axis)
    return figure


def confusion(document: dict[str, Any]) -> Figure:
    """For the objects of each class (a row), the share detected as each class; the last row is the background."""
    counts = np.array(document["confusion"]["matrix"], np.float64)
    class_names = document["data"]["class_names"]
    names = [*(class_labels(class_names).labels[name] for name in class_names), "background"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(10.0, 3.0 + 0.32 * len(names))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.7, label="share of the row")
    if len(names) <= MOST_NAMED:
        size_pt = min(10.0, 72 * side / len(names) * 0.7)
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=size_pt)
        axis.set_yticks(range(len(names)), names, fontsize=size_pt)
    if len(names) <= 12:
        for row, column in np.ndindex(*counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    axis.set(xlabel="detected as", ylabel="annotated as")
    return figure


def tidy(axis: Axes) -> None:
    """Draw a light grid below the data, and no frame on the right and at the top."""
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
