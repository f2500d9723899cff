"""The confusion matrix: what objects of one class are taken for."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64, Int
from pycocotools import mask

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.coco_scorers import Result
from yolox_jax.evaluation.errors import FOREGROUND_IOU, Errors
from yolox_jax.evaluation.matching import take_in_turn


def confusion_matrix(
    dataset: Dataset,
    results: Sequence[Result],
    errors: Errors,
    *,
    image_ids: Collection[int],
    score_threshold: float,
) -> Int[np.ndarray, "C1 C1"]:
    """Count which class is detected where an object of some class is, at `FOREGROUND_IOU`.

    Each object and each detection counts once. Correct detections are paired with their objects first; then the
    others, best first, with the object of another class that they overlap most and no other has.

    Args:
        dataset: holds the ground truth.
        results: the detections.
        errors: what is wrong with each of them, from `sort_errors`.
        image_ids: the images that count.
        score_threshold: detections below this are left out.

    Returns:
        Rows are the classes of objects and a last one for no object; columns are the classes of detections and a last
        one for objects that were not detected. Its entry of no object and no detection is 0.
    """
    nothing = len(dataset.class_names)
    index_of = {category: index for index, category in enumerate(dataset.category_ids)}
    annotations, wanted = dataset.ground_truth["annotations"], set(image_ids)
    class_of_object, class_of_result = (
        np.array([index_of[entry["category_id"]] for entry in entries], np.int64) for entries in (annotations, results)
    )
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    free: defaultdict[int, list[int]] = defaultdict(list)
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
            counts[class_of_result[place], class_of_result[place]] += 1
            free[result["image_id"]].remove(int(errors.object_of[place]))

    for image_id, places in wrong.items():
        places.sort(key=lambda place: -results[place]["score"])
        objects = np.array(free.pop(image_id, []), np.int64)
        classes = class_of_result[places]
        overlaps = _overlaps([results[place]["bbox"] for place in places], [annotations[i]["bbox"] for i in objects])
        # All of other classes: a free object of its own class is what each of them would have matched.
        column = take_in_turn(overlaps, FOREGROUND_IOU)
        paired = column >= 0
        np.add.at(counts, (class_of_object[objects[column[paired]]], classes[paired]), 1)
        counts[nothing] += np.bincount(classes[~paired], minlength=nothing + 1)
        free[image_id] = np.delete(objects, column[paired]).tolist()
    for objects_left in free.values():
        counts[:, nothing] += np.bincount(class_of_object[objects_left], minlength=nothing + 1)
    return counts


def _overlaps(found: list[list[float]], objects: list[list[float]]) -> Float64[np.ndarray, "D G"]:
    """IoU of each detection with each object; boxes x, y, width, height."""
    if not objects:
        return np.zeros((len(found), 0))
    return np.asarray(mask.iou(np.array(found, np.float64), np.array(objects, np.float64), [0] * len(objects)))
