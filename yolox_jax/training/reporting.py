"""Where the figures of a run go: `metrics.jsonl`, TensorBoard, and the curves drawn from them."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from yolox_jax.training.run_directory import RunDirectory


class MetricsLog:
    """Writes each record as a line of JSON and as TensorBoard scalars."""

    def __init__(self, run: RunDirectory, *, resume_step: int) -> None:
        _drop_lines_after(run.metrics, resume_step)
        self._file = run.metrics.open("a")
        # TensorBoard drops what a killed run wrote after the step it is resumed from.
        self._writer = SummaryWriter(str(run.tensorboard), purge_step=resume_step + 1)

    def write(self, kind: str, *, step: int, epoch: float, figures: dict[str, Any]) -> None:
        """Records `figures` of `kind` ("train" or "evaluation") after `step` steps."""
        self._file.write(json.dumps({"kind": kind, "step": step, "epoch": epoch, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def write_image(self, name: str, image_rgb: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Shows a picture in TensorBoard."""
        self._writer.add_image(name, image_rgb, step, dataformats="HWC")

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._writer.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`; a last line that a killed run left unfinished is ignored."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def _drop_lines_after(path: Path, step: int) -> None:
    kept = [record for record in read_metrics(path) if record["step"] <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
    partial.replace(path)


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draws losses, learning rate and AP against the epoch into a PNG."""
    # Imported here: it takes a second, and a run needs it at evaluations alone.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    train = [record for record in records if record["kind"] == "train"]
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for name in ("loss", "iou", "objectness", "classification", "l1"):
        axes[0].plot([r["epoch"] for r in train], [r[name] for r in train], label=name, linewidth=1.5)
    axes[0].set_title("training losses")
    axes[0].set_yscale("symlog", linthresh=0.1)
    axes[1].plot([r["epoch"] for r in train], [r["lr"] for r in train], color="tab:gray")
    axes[1].set_title("learning rate")
    for name in ("AP", "AP50", "AP75"):
        axes[2].plot([r["epoch"] for r in evaluations], [r[name] for r in evaluations], "o-", label=name, markersize=3)
    axes[2].set_title("validation AP of the averaged weights")
    axes[2].set_ylim(0, 1)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    axes[0].legend()
    axes[2].legend(loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
