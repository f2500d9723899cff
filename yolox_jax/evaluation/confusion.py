"""The confusion matrix: which classes the objects of each class are detected as."""

from collections import defaultdict
from collections.abc import Collection

import numpy as np
from jaxtyping import Float64, Int
from pycocotools import mask

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.errors import FOREGROUND_IOU, Errors
from yolox_jax.evaluation.matching import match_greedily
from yolox_jax.evaluation.results import ScoredBoxes


def confusion_matrix(
    dataset: Dataset,
    found: ScoredBoxes,
    errors: Errors,
    *,
    image_ids: Collection[int],
    score_threshold: float,
) -> Int[np.ndarray, "C1 C1"]:
    """Count how often objects of each class are detected as each class, at an IoU of `FOREGROUND_IOU`.

    Each object and each detection counts once. Correct detections are paired with their objects first. The others
    follow, highest score first, each with the unpaired object of another class that it overlaps most.

    Args:
        dataset: holds the ground truth.
        found: the detections.
        errors: the error type of each detection, from `sort_errors`.
        image_ids: the images to count.
        score_threshold: detections with a lower score are ignored.

    Returns:
        One row per class of the objects, and a last one for detections without an object; one column per class of the
        detections, and a last one for objects without a detection. The last entry is 0.
    """
    nothing = len(dataset.class_names)
    index_of = {category: index for index, category in enumerate(dataset.category_ids)}
    annotations, counted_images = dataset.ground_truth["annotations"], set(image_ids)
    class_of_object, class_of_result = (
        np.array([index_of[category] for category in categories], np.int64)
        for categories in ([entry["category_id"] for entry in annotations], found.category_ids.tolist())
    )
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    free: defaultdict[int, list[int]] = defaultdict(list)
    for index, annotation in enumerate(annotations):
        if not annotation["iscrowd"] and annotation["image_id"] in counted_images:
            free[annotation["image_id"]].append(index)
    wrong: defaultdict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(found.scores >= score_threshold).tolist():
        image_id = int(found.image_ids[index])
        if errors.kinds[index] is not None:
            wrong[image_id].append(index)
        elif errors.object_of[index] >= 0:
            counts[class_of_result[index], class_of_result[index]] += 1
            free[image_id].remove(int(errors.object_of[index]))

    for image_id, indices in wrong.items():
        indices.sort(key=lambda index: -found.scores[index])
        objects = np.array(free.pop(image_id, []), np.int64)
        classes = class_of_result[indices]
        overlaps = _overlaps(found.boxes_xywh[indices], [annotations[i]["bbox"] for i in objects])
        # Only objects of other classes: a wrong detection would have matched a free object of its own class.
        column = match_greedily(overlaps, FOREGROUND_IOU)
        paired = column >= 0
        np.add.at(counts, (class_of_object[objects[column[paired]]], classes[paired]), 1)
        counts[nothing] += np.bincount(classes[~paired], minlength=nothing + 1)
        free[image_id] = np.delete(objects, column[paired]).tolist()
    for objects_left in free.values():
        counts[:, nothing] += np.bincount(class_of_object[objects_left], minlength=nothing + 1)
    return counts


def _overlaps(detections: Float64[np.ndarray, "D 4"], objects: list[list[float]]) -> Float64[np.ndarray, "D G"]:
    """IoU of each detection with each object; boxes x, y, width, height."""
    if not objects:
        return np.zeros((len(detections), 0))
    return np.asarray(mask.iou(detections, np.array(objects, np.float64), [0] * len(objects)))
