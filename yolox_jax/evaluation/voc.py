"""The metric of Pascal VOC: average precision of each class at one IoU."""

from collections import defaultdict
from collections.abc import Collection
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.results import ScoredBoxes

IOU_THRESHOLD = 0.5
"""The threshold of the challenges."""


def voc_ap(
    dataset: Dataset,
    found: ScoredBoxes,
    *,
    style: Literal["07", "10"],
    image_ids: Collection[int] | None = None,
) -> dict[str, float]:
    """Compute the AP of each class as the development kits of the challenges do.

    Each detection, best first, is assigned to the object of its class and image that it overlaps most. It is correct
    if that IoU reaches `IOU_THRESHOLD` and no detection with a higher score was assigned to the object. A detection of
    an ignored object (marked as a crowd: `difficult` in VOC, if the settings say `ignore`) is neither right nor wrong.
    Corner pixels belong to the box, so a side is one px longer than the difference of its corners.

    Args:
        dataset: holds the ground truth.
        found: the detections.
        style: `07` for the mean of the highest precision at the recalls 0, 0.1, ..., 1, as in VOC2007; `10` for the
            area under that envelope of precision, as from VOC2010 on.
        image_ids: the images to score; by default all of the dataset.

    Returns:
        AP by class name; NaN for a class without objects, other than ignored ones.
    """
    kept = {record.image_id for record in dataset.records} if image_ids is None else set(image_ids)
    objects: defaultdict[tuple[int, int], list[tuple[list[float], bool]]] = defaultdict(list)
    for entry in dataset.ground_truth["annotations"]:
        if entry["image_id"] in kept:
            objects[entry["category_id"], entry["image_id"]].append((entry["bbox"], bool(entry["iscrowd"])))
    order = np.argsort(-found.scores, kind="stable")
    order = order[np.isin(found.image_ids[order], list(kept))]

    figures = {}
    for name, category in zip(dataset.class_names, dataset.category_ids, strict=True):
        own = {image: entries for (of, image), entries in objects.items() if of == category}
        count = sum(not crowd for entries in own.values() for _, crowd in entries)
        correct = _correct(found, order[found.category_ids[order] == category], own)
        figures[name] = _average(correct, count, style) if count else float("nan")
    return figures


def _correct(
    found: ScoredBoxes, order: Int64[np.ndarray, " K"], objects: dict[int, list[tuple[list[float], bool]]]
) -> Bool[np.ndarray, " N"]:
    """Whether each of the detections in `order`, best first, is correct, without those of ignored objects."""
    boxes = {image: np.array([box for box, _ in entries], np.float64) for image, entries in objects.items()}
    taken: set[tuple[int, int]] = set()
    correct = []
    for index in order.tolist():
        image = int(found.image_ids[index])
        if image not in boxes:
            correct.append(False)
            continue
        overlaps = _iou_of_pixels(found.boxes_xywh[index], boxes[image])
        best = int(overlaps.argmax())
        if overlaps[best] < IOU_THRESHOLD:
            correct.append(False)
        elif not objects[image][best][1]:
            correct.append((image, best) not in taken)
            taken.add((image, best))
    return np.array(correct, bool)


def _iou_of_pixels(box: Float[np.ndarray, "4"], others: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    """IoU of boxes x, y, width, height, whose sides are one px longer than the difference of their corners."""
    first = np.maximum(box[:2], others[:, :2])
    last = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(last - first + 1, 0).prod(axis=1)
    return np.asarray(shared / ((box[2:] + 1).prod() + (others[:, 2:] + 1).prod(axis=1) - shared))


def _average(correct: Bool[np.ndarray, " N"], num_objects: int, style: Literal["07", "10"]) -> float:
    true_positives = np.cumsum(correct)
    recall = np.concatenate([[0.0], true_positives / num_objects, [1.0]])
    precision = np.concatenate([[0.0], true_positives / np.arange(1, len(correct) + 1), [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if style == "07":
        at = [envelope[recall >= level].max() for level in np.arange(11) / 10]
        return float(np.mean(at))
    return float(np.sum(np.diff(recall) * envelope[1:]))
