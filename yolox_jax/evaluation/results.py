"""The detections on a dataset: as arrays, which are scored, and as COCO results, which are saved and exchanged."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.structures import Detections

Result = dict[str, Any]
"""A detection in COCO's format: image_id, category_id, bbox (x, y, width, height in px), score."""


class ScoredBoxes(NamedTuple):
    """Detections of many images: COCO results as arrays."""

    image_ids: Int64[np.ndarray, " N"]
    category_ids: Int64[np.ndarray, " N"]
    boxes_xywh: Float64[np.ndarray, "N 4"]
    """Left, top, width and height in px of the original images."""
    scores: Float64[np.ndarray, " N"]

    def to_results(self) -> list[Result]:
        """One dict per detection, in the same order."""
        columns = (array.tolist() for array in self)
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for image_id, category_id, box, score in zip(*columns, strict=True)
        ]


def from_results(results: Sequence[Result]) -> ScoredBoxes:
    """Convert COCO results to arrays, in the same order."""
    return ScoredBoxes(
        image_ids=np.array([result["image_id"] for result in results], np.int64),
        category_ids=np.array([result["category_id"] for result in results], np.int64),
        boxes_xywh=np.array([result["bbox"] for result in results], np.float64).reshape(-1, 4),
        scores=np.array([result["score"] for result in results], np.float64),
    )


def from_detections(
    detections: Detections,
    indices: Int[np.ndarray, " B"],
    dataset: Dataset,
    category_ids: Sequence[int] | None = None,
) -> ScoredBoxes:
    """Convert the detections of a batch.

    Args:
        detections: boxes x1, y1, x2, y2 in pixels of the original images.
        indices: for each image of the batch its index in `dataset.records`; -1 for padding, which is skipped.
        dataset: provides the image and category ids.
        category_ids: category of each class of the network; by default those of the dataset.
    """
    boxes, scores, classes, valid = (np.asarray(array) for array in detections)
    # A diverged network can predict infinite boxes, which JSON cannot represent and no object matches.
    images, slots = np.nonzero(valid & np.isfinite(boxes).all(axis=-1) & (indices >= 0)[:, None])
    boxes_xywh = boxes[images, slots].astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    image_ids = np.array([record.image_id for record in dataset.records], np.int64)
    categories = np.array(dataset.category_ids if category_ids is None else category_ids, np.int64)
    return ScoredBoxes(
        image_ids[indices[images]],
        categories[classes[images, slots]],
        boxes_xywh,
        scores[images, slots].astype(np.float64),
    )


def check_results(found: ScoredBoxes, dataset: Dataset) -> None:
    """Check that results can be scored.

    Raises:
        DataError: a result's image or category is not in the dataset, its box or score is not finite, or its box has a
            negative side. The message names the first such result.
    """
    in_dataset = np.isin(found.image_ids, [record.image_id for record in dataset.records])
    in_categories = np.isin(found.category_ids, dataset.category_ids)
    finite = np.isfinite(found.boxes_xywh).all(axis=1) & np.isfinite(found.scores)
    is_good: Bool[np.ndarray, " N"] = in_dataset & in_categories & finite & (found.boxes_xywh[:, 2:] >= 0).all(axis=1)
    if is_good.all():
        return
    first = int(np.argmin(is_good))
    image_id, category_id, box, score = (array[first].tolist() for array in found)
    where = f"detection {first} (image id {image_id}, category id {category_id})"
    if not in_dataset[first]:
        raise DataError(
            f"{where}: the dataset {dataset.name} has no image with this id. Is the detection from another dataset?"
        )
    if not in_categories[first]:
        known = ", ".join(map(str, dataset.category_ids[:10])) + (", ..." if len(dataset.category_ids) > 10 else "")
        raise DataError(f"{where}: the dataset {dataset.name} has no such category. Its category ids are {known}.")
    if not finite[first]:
        raise DataError(f"{where}: box {box}, score {score}: all must be finite numbers.")
    raise DataError(f"{where}: box {box} has a negative side. It must be [x, y, width, height], not corners.")
