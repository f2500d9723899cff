"""The metric of Pascal VOC: average precision of each class at one IoU."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.coco_scorers import Result

IOU_THRESHOLD = 0.5
"""That of the challenges."""


def voc_ap(
    dataset: Dataset,
    results: Sequence[Result],
    *,
    style: Literal["07", "10"],
    image_ids: Collection[int] | None = None,
) -> dict[str, float]:
    """AP of each class as the development kits of the challenges compute it.

    A detection, best first, goes to the object of its class and image that it overlaps most. It is correct if that
    overlap reaches `IOU_THRESHOLD` and no better one went there. One that goes to an object which does not count (a
    crowd here: `difficult` of VOC, if the settings say `ignore`) counts neither way. Corners are pixels that belong to
    the box, so that a side is one longer than their difference.

    Args:
        dataset: holds the ground truth.
        results: the detections.
        style: `07` for the mean of the largest precision at the recalls 0, 0.1, ..., 1, as in VOC2007; `10` for the
            area below that envelope of precision, as from VOC2010 on.
        image_ids: the images that count; all of the data set by default.

    Returns:
        AP by the name of the class; NaN for a class without objects that count.
    """
    wanted = {record.image_id for record in dataset.records} if image_ids is None else set(image_ids)
    objects: defaultdict[tuple[int, int], list[tuple[list[float], bool]]] = defaultdict(list)
    for entry in dataset.ground_truth["annotations"]:
        if entry["image_id"] in wanted:
            objects[entry["category_id"], entry["image_id"]].append((entry["bbox"], bool(entry["iscrowd"])))
    of_class: defaultdict[int, list[Result]] = defaultdict(list)
    for result in results:
        if result["image_id"] in wanted:
            of_class[result["category_id"]].append(result)

    figures = {}
    for name, category in zip(dataset.class_names, dataset.category_ids, strict=True):
        own = {image: found for (of, image), found in objects.items() if of == category}
        count = sum(not crowd for found in own.values() for _, crowd in found)
        correct = _correct(sorted(of_class[category], key=lambda result: -result["score"]), own)
        figures[name] = _average(correct, count, style) if count else float("nan")
    return figures


def _correct(results: list[Result], objects: dict[int, list[tuple[list[float], bool]]]) -> Bool[np.ndarray, " N"]:
    """Whether each result that counts is correct."""
    boxes = {image: np.array([box for box, _ in found], np.float64) for image, found in objects.items()}
    taken: set[tuple[int, int]] = set()
    correct = []
    for result in results:
        image = result["image_id"]
        if image not in boxes:
            correct.append(False)
            continue
        overlaps = _iou_of_pixels(np.array(result["bbox"], np.float64), boxes[image])
        best = int(overlaps.argmax())
        if overlaps[best] < IOU_THRESHOLD:
            correct.append(False)
        elif not objects[image][best][1]:
            correct.append((image, best) not in taken)
            taken.add((image, best))
    return np.array(correct, bool)


def _iou_of_pixels(box: Float[np.ndarray, "4"], others: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    """IoU of boxes x, y, width, height, all of which are one px larger than the difference of their corners says."""
    first = np.maximum(box[:2], others[:, :2])
    last = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.maximum(last - first + 1, 0).prod(axis=1)
    return np.asarray(shared / ((box[2:] + 1).prod() + (others[:, 2:] + 1).prod(axis=1) - shared))


def _average(correct: Bool[np.ndarray, " N"], num_objects: int, style: Literal["07", "10"]) -> float:
    found = np.cumsum(correct)
    recall = np.concatenate([[0.0], found / num_objects, [1.0]])
    precision = np.concatenate([[0.0], found / np.arange(1, len(correct) + 1), [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if style == "07":
        at = [envelope[recall >= level].max() for level in np.arange(11) / 10]
        return float(np.mean(at))
    return float(np.sum(np.diff(recall) * envelope[1:]))
