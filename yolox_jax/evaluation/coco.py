"""The COCO metric: average precision and recall of detections on a dataset."""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float64

from yolox_jax.config.best_by import COCO_FIGURES
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.coco_scorers import Accumulated
from yolox_jax.files import null_if_not_finite

FIGURES = COCO_FIGURES
"""The twelve COCO figures in the order of pycocotools."""

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU thresholds that AP averages over."""


@dataclasses.dataclass(frozen=True)
class CocoMetrics:
    """COCO metrics of one evaluation, as fractions; NaN where the dataset has no objects to score."""

    figures: dict[str, float]
    """The twelve COCO figures, by their names in `FIGURES`."""
    per_class: dict[str, float]
    """AP of each class, by name, in the order of the class indices."""
    per_class_figures: dict[str, dict[str, float]]
    """AP, AP50, AP75, AP_small, AP_medium, AP_large and AR_100 of each class."""
    per_iou: dict[str, float]
    """AP at each of `IOU_THRESHOLDS`, with the threshold as a string, such as "0.50"."""
    num_images: int
    num_detections: int

    def to_json(self) -> dict[str, Any]:
        """The COCO figures and the AP of each class as plain JSON values, with null for NaN."""
        values = {
            **self.figures,
            "per_class": self.per_class,
            "num_images": self.num_images,
            "num_detections": self.num_detections,
        }
        return null_if_not_finite(values)


def metrics_of(accumulated: Accumulated, dataset: Dataset, *, num_images: int, num_detections: int) -> CocoMetrics:
    """The metrics of a scored dataset; arguments as the fields of `CocoMetrics`."""
    column = {category_id: index for index, category_id in enumerate(accumulated.category_ids)}
    per_class_figures = {
        name: _figures_of_class(accumulated, column[category_id])
        for name, category_id in zip(dataset.class_names, dataset.category_ids, strict=True)
    }
    at_iou = accumulated.precision[:, :, :, 0, -1]
    return CocoMetrics(
        figures={
            name: math.nan if value < 0 else float(value)
            for name, value in zip(FIGURES, accumulated.stats, strict=True)
        },
        per_class={name: figures["AP"] for name, figures in per_class_figures.items()},
        per_class_figures=per_class_figures,
        per_iou={f"{iou:.2f}": _mean(values) for iou, values in zip(IOU_THRESHOLDS, at_iou, strict=True)},
        num_images=num_images,
        num_detections=num_detections,
    )


def _figures_of_class(accumulated: Accumulated, column: int) -> dict[str, float]:
    precision = accumulated.precision[:, :, column, :, -1]  # IoU thresholds, recalls, areas
    return {
        "AP": _mean(precision[..., 0]),
        "AP50": _mean(precision[0, :, 0]),
        "AP75": _mean(precision[5, :, 0]),
        "AP_small": _mean(precision[..., 1]),
        "AP_medium": _mean(precision[..., 2]),
        "AP_large": _mean(precision[..., 3]),
        "AR_100": _mean(accumulated.recall[:, column, 0, -1]),
    }


def _mean(values: Float64[np.ndarray, "..."]) -> float:
    """Mean over the entries of classes that have objects, as in pycocotools; NaN if there are none."""
    counted = values[values > -1]
    return float(counted.mean()) if counted.size else math.nan
