"""Anchor boxes beside the sizes of the boxes they were clustered from, as a picture and as JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from yolox_jax.data.anchor_sizes import POOR_IOU, STRIDES_PX, AnchorFit, Sizes, by_level
from yolox_jax.files import atomic_write, write_json
from yolox_jax.report.plots import tidy

MOST_POINTS = 10_000
"""Maximum number of boxes to draw; more would hide each other."""


def write_anchor_boxes(
    folder: Path, sizes: Sizes, fits: Mapping[str, AnchorFit], *, input_size: tuple[int, int], dataset: str
) -> None:
    """Write `anchors.json` and `anchors.png`.

    Args:
        folder: an existing folder.
        sizes: widths and heights of the boxes in px.
        fits: from `measure_fit` on these boxes, by what the anchor boxes are called; first those of the dataset.
        input_size: height and width in px that images are resized to fit.
        dataset: its name.
    """
    clustered, *others = fits.values()
    content = {
        "dataset": dataset,
        "input_size": input_size,
        "boxes": len(sizes),
        **_figures(clustered),
        "compared_with": [_figures(fit) for fit in others],
    }
    write_json(folder / "anchors.json", content, indent=1)
    with atomic_write(folder / "anchors.png") as temporary:
        draw_anchor_boxes(sizes, fits).savefig(temporary, dpi=130)


def _figures(fit: AnchorFit) -> dict[str, Any]:
    return {
        "anchors": fit.anchors,
        "mean_best_iou": fit.mean_best_iou,
        f"share_of_boxes_below_{POOR_IOU:g}": fit.share_below,
        "share_of_boxes_by_stride": dict(zip(map(str, STRIDES_PX), fit.level_shares, strict=True)),
    }


def draw_anchor_boxes(sizes: Sizes, fits: Mapping[str, AnchorFit]) -> Figure:
    """Plot the sizes of boxes with the anchor boxes, and the share of boxes by best IoU; arguments as above."""
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    plane, shares = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_sizes(plane, sizes, fits)
    quantiles = np.linspace(0, 1, 501)
    for number, (name, fit) in enumerate(fits.items()):
        label = f"{name}: mean {fit.mean_best_iou:.3f}"
        style = {"color": "black", "linestyle": "--" if number else "-"}
        shares.plot(np.quantile(fit.best_ious, quantiles), quantiles, label=label, **style)
    shares.axvline(POOR_IOU, ymax=0.88, color="grey", linewidth=0.8)  # up to the legend
    shares.yaxis.set_major_formatter(PercentFormatter(1))
    shares.set(xlabel="best IoU with an anchor box", ylabel="boxes up to this IoU", xlim=(0, 1), ylim=(0, 1))
    shares.set_title("fit: lower and further right is better")
    shares.legend(frameon=False, loc="upper left")
    tidy(shares)
    return figure


def _draw_sizes(axis: Axes, sizes: Sizes, fits: Mapping[str, AnchorFit]) -> None:
    """Draws boxes and anchor boxes as points, width against height, in the colour of their level."""
    clustered, *others = fits.items()
    drawn = np.unique(np.linspace(0, len(sizes) - 1, MOST_POINTS).astype(int))
    colours = np.array([f"C{level}" for level in range(len(STRIDES_PX))])
    axis.scatter(
        sizes[drawn, 0], sizes[drawn, 1], s=6, alpha=0.3, color=colours[clustered[1].levels[drawn]], linewidths=0
    )
    for colour, stride, level in zip(colours, STRIDES_PX, by_level(clustered[1].anchors), strict=True):
        widths, heights = zip(*level, strict=True)
        axis.scatter(widths, heights, s=90, color=colour, edgecolors="black", label=f"stride {stride}")
    for name, fit in others:
        widths, heights = zip(*fit.anchors, strict=True)
        axis.scatter(widths, heights, s=60, marker="x", color="black", label=name)
    axis.set(xscale="log", yscale="log", xlabel="width in px", ylabel="height in px", aspect="equal")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(FixedLocator([2.0**power for power in range(14)]))
        side.set_minor_locator(NullLocator())
        side.set_major_formatter(ScalarFormatter())
    some = f"{len(drawn)} of {len(sizes)} boxes" if len(drawn) < len(sizes) else f"{len(sizes)} boxes"
    axis.set_title(f"{some} (small points) and anchor boxes")
    axis.legend(frameon=False, loc="upper left")
    tidy(axis)
