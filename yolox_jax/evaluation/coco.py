"""The COCO metric: average precision and recall of detections on a dataset."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.evaluation.coco_scorers import Accumulated, Result
from yolox_jax.files import null_if_not_finite
from yolox_jax.structures import Detections

FIGURES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)
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


def to_coco(
    detections: Detections,
    indices: Int[np.ndarray, " B"],
    dataset: Dataset,
    category_ids: Sequence[int] | None = None,
) -> list[Result]:
    """Convert the detections of a batch to COCO results.

    Args:
        detections: boxes x1, y1, x2, y2 in pixels of the original images.
        indices: for each image of the batch its index in `dataset.records`; -1 for padding, which is skipped.
        dataset: provides the image and category ids.
        category_ids: category of each class of the network; by default those of the dataset.

    Returns:
        One dict per detection: image_id, category_id, bbox (x, y, width, height in px), score.
    """
    categories = dataset.category_ids if category_ids is None else category_ids
    all_boxes, all_scores, all_classes, all_valid = (np.asarray(array) for array in detections)
    # A diverged network can predict infinite boxes, which JSON cannot represent and no object matches.
    keep = all_valid & np.isfinite(all_boxes).all(axis=-1) & (indices >= 0)[:, None]
    results = []
    for image, slot in np.argwhere(keep).tolist():
        x1, y1, x2, y2 = all_boxes[image, slot].tolist()
        results.append(
            {
                "image_id": dataset.records[indices[image]].image_id,
                "category_id": categories[all_classes[image, slot]],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(all_scores[image, slot]),
            }
        )
    return results


def check_results(results: Sequence[Result], dataset: Dataset) -> None:
    """Check that results can be scored.

    Raises:
        DataError: a result's image or category is not in the dataset, its box or score is not finite, or its box has a
            negative side. The message names the first such result.
    """
    image_ids, category_ids = {record.image_id for record in dataset.records}, set(dataset.category_ids)
    for index, result in enumerate(results):
        where = f"detection {index} (image id {result['image_id']}, category id {result['category_id']})"
        if result["image_id"] not in image_ids:
            raise DataError(
                f"{where}: the dataset {dataset.name} has no image with this id. Is the detection from another dataset?"
            )
        if result["category_id"] not in category_ids:
            known = ", ".join(map(str, dataset.category_ids[:10])) + (", ..." if len(category_ids) > 10 else "")
            raise DataError(f"{where}: the dataset {dataset.name} has no such category. Its category ids are {known}.")
        if not all(map(math.isfinite, (*result["bbox"], result["score"]))):
            raise DataError(f"{where}: box {result['bbox']}, score {result['score']}: all must be finite numbers.")
        if min(result["bbox"][2:]) < 0:
            raise DataError(
                f"{where}: box {result['bbox']} has a negative side. It must be [x, y, width, height], not corners."
            )


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
