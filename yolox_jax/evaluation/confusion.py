"""The confusion matrix: what objects of one class are taken for."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Int
from pycocotools import mask

from yolox_jax.data.sources.dataset import Dataset
from yolox_jax.evaluation.coco_scorers import Result
from yolox_jax.evaluation.errors import Errors


def confusion_matrix(
    dataset: Dataset,
    results: Sequence[Result],
    errors: Errors,
    *,
    image_ids: Collection[int],
    score_threshold: float,
    iou_threshold: float = 0.5,
) -> Int[np.ndarray, "C1 C1"]:
    """Count which class is detected where an object of some class is.

    Each object and each detection counts once. Correct detections are paired with their objects first; then the
    others, best first, with the object of another class that they overlap most and no other has.

    Args:
        dataset: holds the ground truth.
        results: the detections.
        errors: what is wrong with each of them, from `sort_errors` at the same IoU.
        image_ids: the images that count.
        score_threshold: detections below this are left out.
        iou_threshold: smallest overlap of a pair.

    Returns:
        Rows are the classes of objects and a last one for no object; columns are the classes of detections and a last
        one for objects that were not detected. Its entry of no object and no detection is 0.
    """
    size = len(dataset.class_names)
    class_of = {category: index for index, category in enumerate(dataset.category_ids)}
    annotations = dataset.ground_truth["annotations"]
    counts = np.zeros((size + 1, size + 1), np.int64)
    free: defaultdict[int, list[int]] = defaultdict(list)
    wanted = set(image_ids)
    for place, annotation in enumerate(annotations):
        if not annotation["iscrowd"] and annotation["image_id"] in wanted:
            free[annotation["image_id"]].append(place)

    wrong: defaultdict[int, list[int]] = defaultdict(list)
    for place, result in enumerate(results):
        if result["score"] < score_threshold:
            continue
        if errors.kinds[place] is not None:
            wrong[result["image_id"]].append(place)
        elif errors.object_of[place] >= 0:
            own = class_of[result["category_id"]]
            counts[own, own] += 1
            free[result["image_id"]].remove(int(errors.object_of[place]))

    for image_id, places in wrong.items():
        places.sort(key=lambda place: -results[place]["score"])
        objects = free[image_id]
        overlaps = _overlaps([results[place]["bbox"] for place in places], [annotations[i]["bbox"] for i in objects])
        taken = np.zeros(len(objects), bool)
        for place, overlap in zip(places, overlaps, strict=True):
            own = class_of[results[place]["category_id"]]
            classes = np.array([class_of[annotations[i]["category_id"]] for i in objects], np.int64)
            overlap = np.where(taken | (classes == own), 0.0, overlap)
            best = int(overlap.argmax()) if len(objects) else -1
            if best >= 0 and overlap[best] >= iou_threshold:
                counts[classes[best], own] += 1
                taken[best] = True
            else:
                counts[size, own] += 1
        free[image_id] = [i for i, is_taken in zip(objects, taken.tolist(), strict=True) if not is_taken]
    for objects in free.values():
        for place in objects:
            counts[class_of[annotations[place]["category_id"]], size] += 1
    return counts


def _overlaps(found: list[list[float]], objects: list[list[float]]) -> np.ndarray:
    """IoU of each detection (rows) with each object (columns); boxes x, y, width, height."""
    if not objects:
        return np.zeros((len(found), 0))
    return np.asarray(mask.iou(np.array(found, np.float64), np.array(objects, np.float64), [0] * len(objects)))
