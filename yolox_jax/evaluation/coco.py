"""The COCO metric: average precision and recall of detections on a data set."""

import contextlib
import dataclasses
import io
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolox_jax.data.sources.dataset import Dataset
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


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Figures of one evaluation, as fractions; NaN where the data set holds no object to judge by."""

    figures: dict[str, float]
    """The twelve of `FIGURES`."""
    per_class: dict[str, float]
    """AP of each class, by name, in the order of the class indices."""
    num_images: int
    num_detections: int

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values, with null in place of NaN."""
        return {
            **{name: _null_if_nan(value) for name, value in self.figures.items()},
            "per_class": {name: _null_if_nan(value) for name, value in self.per_class.items()},
            "num_images": self.num_images,
            "num_detections": self.num_detections,
        }


def to_coco(detections: Detections, indices: Int[np.ndarray, " B"], dataset: Dataset) -> list[dict[str, Any]]:
    """Turn the detections of a batch into COCO results.

    Args:
        detections: boxes x1, y1, x2, y2 in px of the original images.
        indices: for each image of the batch its place in `dataset.records`; -1 for padding, which is left out.
        dataset: gives the ids of images and categories.

    Returns:
        One dict a detection: image_id, category_id, bbox (x, y, width, height in px), score.
    """
    all_boxes, all_scores, all_classes, all_valid = (np.asarray(array) for array in detections)
    # Training that diverges can give infinite boxes, which JSON cannot hold and no object matches.
    keep = all_valid & np.isfinite(all_boxes).all(axis=-1) & (indices >= 0)[:, None]
    results = []
    for image, slot in np.argwhere(keep).tolist():
        x1, y1, x2, y2 = all_boxes[image, slot].tolist()
        results.append(
            {
                "image_id": dataset.records[indices[image]].image_id,
                "category_id": dataset.category_ids[all_classes[image, slot]],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(all_scores[image, slot]),
            }
        )
    return results


def score(dataset: Dataset, results: Sequence[dict[str, Any]], *, image_ids: Collection[int] | None = None) -> Metrics:
    """Compute the COCO figures with pycocotools (SPEC A5).

    Args:
        dataset: holds the ground truth, crowds included.
        results: from `to_coco`; neither they nor the ground truth are changed. May be empty.
        image_ids: images to score on; all of the data set by default.
    """
    image_ids = sorted(record.image_id for record in dataset.records) if image_ids is None else sorted(image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_ground_truth(dataset), _detections(dataset, results), iouType="bbox")
        evaluator.params.imgIds = image_ids
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return Metrics(
        figures={name: _nan_if_absent(value) for name, value in zip(FIGURES, evaluator.stats, strict=True)},
        per_class=_per_class(evaluator, dataset),
        num_images=len(image_ids),
        num_detections=len(results),
    )


def _ground_truth(dataset: Dataset) -> COCO:
    """Index of the ground truth; pycocotools writes into the annotations, so these are copied."""
    truth = COCO()
    truth.dataset = {
        **dataset.ground_truth,
        "annotations": [dict(annotation) for annotation in dataset.ground_truth["annotations"]],
    }
    truth.createIndex()
    return truth


def _detections(dataset: Dataset, results: Sequence[dict[str, Any]]) -> COCO:
    """Index of the results. `COCO.loadRes` does the same, but fails on an empty list and needs an `info` entry."""
    found = COCO()
    found.dataset = {
        "images": dataset.ground_truth["images"],
        "categories": dataset.ground_truth["categories"],
        "annotations": [
            {**result, "id": number, "iscrowd": 0, "area": result["bbox"][2] * result["bbox"][3]}
            for number, result in enumerate(results, start=1)
        ],
    }
    found.createIndex()
    return found


def _per_class(evaluator: COCOeval, dataset: Dataset) -> dict[str, float]:
    """Mean precision of each class over IoU thresholds and recalls, over all areas with the most detections."""
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # IoU thresholds, recalls, categories
    column = {category_id: place for place, category_id in enumerate(evaluator.params.catIds)}
    per_class = {}
    for name, category_id in zip(dataset.class_names, dataset.category_ids, strict=True):
        values = precision[:, :, column[category_id]]
        values = values[values > -1]
        per_class[name] = float(values.mean()) if values.size else math.nan
    return per_class


def _nan_if_absent(value: float) -> float:
    """NaN in place of the -1 that pycocotools gives where no object counts."""
    return math.nan if value < 0 else float(value)


def _null_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
