"""Plots of benchmark results."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "ours": "#1f6f8b",
    "eager": "#c9c9c9",
    "channels_last": "#a0a0a0",
    "compile": "#e8a33d",
    "onnx": "#7a4fa3",
    "torch_onnx": "#c58fb8",
}
LABELS = {
    "ours": "yolox_jax",
    "eager": "original, eager",
    "channels_last": "original, eager, channels last",
    "compile": "original, torch.compile",
    "onnx": "yolox_jax ONNX export, ONNX Runtime",
    "torch_onnx": "original's ONNX export, ONNX Runtime",
}
PUBLISHED_AP = {
    "yolox_nano": 25.8,
    "yolox_tiny": 32.8,
    "yolox_s": 40.5,
    "yolox_m": 46.9,
    "yolox_l": 49.7,
    "yolox_x": 51.1,
    "yolox_darknet53": 47.7,
}
"""On COCO val2017 (docs/yolox.md, 10.2)."""


def plot_steps(result: dict[str, Any], path: Path) -> None:
    """Plot the images per second of each case, with ours and the original's side by side."""
    cases = [case for case in result["cases"] if any("images_per_s" in one for one in case["contestants"])]
    sides = list(dict.fromkeys(one["side"] for case in cases for one in case["contestants"]))
    figure, axes = plt.subplots(figsize=(1.5 + 1.1 * len(cases), 4.2), layout="constrained")
    width = 0.8 / len(sides)
    for case_number, case in enumerate(cases):
        for one in case["contestants"]:
            if "images_per_s" not in one:
                continue
            x = case_number + (sides.index(one["side"]) - (len(sides) - 1) / 2) * width
            rate = one["images_per_s"]["median"]
            axes.bar(x, rate, width, color=COLOURS[one["side"]])
            axes.annotate(f"{rate:.3g}", (x, rate), ha="center", va="bottom", fontsize=8)
    for side in sides:
        axes.bar(0, 0, color=COLOURS[side], label=LABELS[side])
    names = [f"{case['variant'].removeprefix('yolox_')}\n{case['precision']}\nbatch {case['batch']}" for case in cases]
    axes.set_xticks(range(len(cases)), names, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("images per second (log)")
    axes.set_title(f"Training step on {result['cases'][0]['contestants'][0].get('device', 'cpu')}")
    axes.legend(fontsize=8, loc="upper right")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path}")


def plot_assignment(result: dict[str, Any], path: Path) -> None:
    """Plot time against the number of objects, one line per rule and batch size, and linear scaling for comparison."""
    lines: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
    for case in result["cases"]:
        lines[case.get("rule", "simota"), case["images"]].append((case["objects"], case["ms"]))
    figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
    for (rule, images), points in lines.items():
        objects, ms = zip(*points, strict=True)
        axes.plot(objects, ms, marker="o", label=f"{rule}, {images} image{'s' * (images > 1)}")
        proportional = [ms[-1] * value / objects[-1] for value in objects]
        axes.plot(objects, proportional, color="grey", linewidth=0.8, linestyle=":")
    axes.plot([], [], color="grey", linestyle=":", label="linear scaling")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("objects per image")
    axes.set_ylabel("ms")
    axes.set_title(f"Label assignment on {result['device']}")
    axes.legend(fontsize=8, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path}")


def plot_latency(result: dict[str, Any], path: Path) -> None:
    """Plot published AP against network latency, one line per implementation, precision and batch size.

    Networks with the end-to-end branch are left out: nothing is published for them in the sizes of YOLOX.
    """
    lines: dict[tuple[str, str, int], list[tuple[float, float, str]]] = defaultdict(list)
    for case in result["cases"]:
        for one in case["contestants"]:
            if "ms" in one and not case["end_to_end"]:
                name = case["variant"].removeprefix("yolox_")
                point = (one["ms"]["network"]["median"] / case["batch"], PUBLISHED_AP[case["variant"]], name)
                lines[one["side"], case["precision"], case["batch"]].append(point)
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    for (side, precision, batch), points in lines.items():
        ms, ap, names = zip(*sorted(points), strict=True)
        line = {"float32": "-", "bfloat16": "--", "float16": ":"}[precision]
        label = f"{LABELS[side]}, {precision}, batch {batch}"
        axes.plot(ms, ap, line, marker="o", color=COLOURS[side], label=label)
        if side == "ours":
            for x, y, name in zip(ms, ap, names, strict=True):
                axes.annotate(name, (x, y), textcoords="offset points", xytext=(-6, 6), ha="right", fontsize=9)
    axes.set_xscale("log")
    axes.set_xlabel("ms per image, network only (log)")
    axes.set_ylabel("published AP on COCO val2017")
    axes.set_title(f"Detection on {result['cases'][0]['contestants'][0].get('device', 'cpu')}")
    axes.legend(fontsize=7, loc="lower right")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"wrote {path}")
