"""Table and plot of a study of the roadmap, beside the paper's figures."""

import statistics
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


class Published(NamedTuple):
    """A row of table 2 of the paper."""

    name: str
    ap: float | None
    """On COCO val2017 with Darknet53 at 640x640, in percent."""
    below: str | None
    """Step that it is an increment of."""


PAPER = {
    "yolov3_baseline": Published("YOLOv3 baseline", 38.5, None),
    "decoupled_head": Published("+ decoupled head", 39.6, "yolov3_baseline"),
    "strong_augmentation": Published("+ strong augmentation", 42.0, "decoupled_head"),
    "anchor_free": Published("+ anchor-free", 42.9, "strong_augmentation"),
    "multi_positives": Published("+ multi positives", 45.0, "anchor_free"),
    "simota": Published("+ SimOTA", 47.3, "multi_positives"),
    "nms_free": Published("+ NMS-free", 46.5, "simota"),
    "ota": Published("OTA for SimOTA", None, "simota"),
}
COLOURS = {"AP": "#1f6f8b", "AP50": "#e8a33d", "paper": "#7a4fa3"}


def summarise_step(step: str, seeds: list[dict[str, Any]], *, parameters: int, gflops: float) -> dict[str, Any]:
    """The results of a step: each seed, and mean and range over them, as fractions."""
    summary: dict[str, Any] = {"step": step, "parameters": parameters, "gflops": round(gflops, 4), "seeds": seeds}
    for name in ("AP", "AP50", "AP75", "best_AP"):
        values = [seed[name] or 0.0 for seed in seeds]
        summary[name] = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
    return summary


def _increment(values: dict[str, float], step: str) -> str:
    """What a step adds to the one below; empty where that was not trained or published."""
    below = PAPER[step].below
    return f"{values[step] - values[below]:+.1f}" if below in values and step in values else ""


def _published() -> dict[str, float]:
    return {step: row.ap for step, row in PAPER.items() if row.ap is not None}


def write_table(result: dict[str, Any], path: Path) -> None:
    """Writes the table as Markdown, AP in percent with the range over the seeds in parentheses, and prints it."""
    steps = {step["step"]: step for step in result["steps"]}
    means = {name: {step: 100 * one[name]["mean"] for step, one in steps.items()} for name in ("AP", "AP50")}
    published = _published()
    lines = [
        "| step | AP | change | AP50 | change | AP in the paper | change | parameters | GFLOPs | images/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for step, one in steps.items():
        cells = [PAPER[step].name]
        for name in ("AP", "AP50"):
            cells += [_with_range(one[name]), _increment(means[name], step)]
        cells += [f"{published[step]:.1f}" if step in published else "", _increment(published, step)]
        rate = statistics.median(seed["images_per_second"] for seed in one["seeds"])
        cells += [f"{one['parameters']:,}", f"{one['gflops']:.3g}", f"{rate:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    path.write_text(text, encoding="utf-8")
    print(text + f"wrote {path}")


def _with_range(values: dict[str, float]) -> str:
    mean, low, high = (f"{100 * values[name]:.1f}" for name in ("mean", "min", "max"))
    return f"{mean} ({low} to {high})"


def plot_steps(result: dict[str, Any], path: Path) -> None:
    """Plots AP and AP50 of each step, mean and range over the seeds with the increments, beside the paper's AP."""
    steps = [step["step"] for step in result["steps"]]
    figure, (here, paper) = plt.subplots(
        1, 2, sharey=True, figsize=(11, 1.4 + 0.5 * len(steps)), layout="constrained", width_ratios=(3, 2)
    )
    for name, marker in (("AP", "o"), ("AP50", "s")):
        values = {step["step"]: {key: 100 * value for key, value in step[name].items()} for step in result["steps"]}
        means = {step: value["mean"] for step, value in values.items()}
        ranges = [
            [value["mean"] - value["min"] for value in values.values()],
            [value["max"] - value["mean"] for value in values.values()],
        ]
        style = {"color": COLOURS[name], "label": name, "capsize": 3}
        here.errorbar(list(means.values()), range(len(steps)), xerr=ranges, fmt=marker, **style)
        _plot_increments(here, means, steps, COLOURS[name])
    num_seeds = max(len(step["seeds"]) for step in result["steps"])
    here.set_title("here" if num_seeds == 1 else f"here: mean and range of {num_seeds} seeds")
    here.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, frameon=False)
    published = {step: ap for step, ap in _published().items() if step in steps}
    places = [steps.index(step) for step in published]
    paper.plot(list(published.values()), places, "o", color=COLOURS["paper"])
    _plot_increments(paper, published, steps, COLOURS["paper"])
    paper.set_title("paper: Darknet53 on COCO at 640x640")
    here.set_yticks(range(len(steps)), [PAPER[step].name for step in steps])
    here.invert_yaxis()
    for axes, label in ((here, "AP and AP50"), (paper, "AP")):
        axes.set_xlabel(f"{label} in percent")
        axes.margins(x=0.15, y=0.1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path}")


def _plot_increments(axes: Any, values: dict[str, float], steps: list[str], colour: str) -> None:
    """Connects each step with the one that it is an increment of, and writes the increments beside the points."""
    for step, value in values.items():
        below, place = PAPER[step].below, steps.index(step)
        if below in values:
            axes.plot([values[below], value], [steps.index(below), place], color=colour, linewidth=1)
        axes.annotate(_increment(values, step), (value, place), xytext=(6, 5), textcoords="offset points", fontsize=8)
