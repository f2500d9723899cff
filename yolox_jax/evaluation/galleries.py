"""Finds the images to look at first: those with the worst errors of each type."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.evaluation.errors import ErrorKind, Errors
from yolox_jax.evaluation.results import ScoredBoxes

IMAGES_PER_KIND = 8
"""Number of images per error type: enough to show a pattern, few enough to review."""


def worst_images(
    dataset: Dataset,
    found: ScoredBoxes,
    errors: Errors,
    *,
    score_threshold: float,
) -> dict[ErrorKind, list[dict[str, Any]]]:
    """Find the `IMAGES_PER_KIND` images with the worst errors of each type, worst first.

    Images with false positives are ranked by the highest score among them. Missed objects have no score, so their
    images are ranked by the number of missed objects, then by the area of the largest.

    Args:
        dataset: images and ground truth.
        found: the detections.
        errors: the error type of each detection, from `sort_errors`.
        score_threshold: detections with a lower score are not shown, nor are those that do not count.

    Returns:
        For each type the images, as plain JSON values: `path` (null for one in an archive), `name`, `image_id`,
        `height` and `width` in px, `objects` with `box` (x1, y1, x2, y2 in px), `class` and `missed`, and `detections`
        with `box`, `class`, `score`, `kind` (the error type; null if correct), and `object`, the class of the object
        that the error type refers to.
    """
    shown: defaultdict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(found.scores >= score_threshold).tolist():
        if errors.kinds[index] is not None or errors.object_of[index] >= 0:
            shown[int(found.image_ids[index])].append(index)
    chosen = {
        kind: sorted(badness, key=badness.__getitem__, reverse=True)[:IMAGES_PER_KIND]
        for kind, badness in _badness(dataset, found, errors, shown).items()
    }
    chosen_ids = {image_id for images in chosen.values() for image_id in images}
    objects: defaultdict[int, list[int]] = defaultdict(list)
    for index, annotation in enumerate(dataset.ground_truth["annotations"]):
        if annotation["image_id"] in chosen_ids and not annotation["iscrowd"]:
            objects[annotation["image_id"]].append(index)
    entries = {
        record.image_id: _entry(dataset, record, objects[record.image_id], found, shown[record.image_id], errors)
        for record in dataset.records
        if record.image_id in chosen_ids
    }
    return {kind: [entries[image_id] for image_id in images] for kind, images in chosen.items()}


def _badness(
    dataset: Dataset, found: ScoredBoxes, errors: Errors, shown: Mapping[int, list[int]]
) -> dict[ErrorKind, dict[int, tuple[float, float]]]:
    """How bad the errors of each type are in each image that has any; larger is worse."""
    badness: dict[ErrorKind, dict[int, tuple[float, float]]] = {kind: {} for kind in ErrorKind}
    for image_id, indices in shown.items():
        for index in indices:
            kind = errors.kinds[index]
            if kind is not None:
                worst = badness[kind].get(image_id, (0.0, 0.0))
                badness[kind][image_id] = max(worst, (float(found.scores[index]), 0.0))
    of_missed = badness[ErrorKind.MISSED]
    for index in errors.missed.tolist():
        annotation = dataset.ground_truth["annotations"][index]
        number, largest = of_missed.get(annotation["image_id"], (0.0, 0.0))
        of_missed[annotation["image_id"]] = (number + 1, max(largest, annotation["area"]))
    return badness


def _entry(
    dataset: Dataset,
    record: Record,
    objects: Sequence[int],
    found: ScoredBoxes,
    shown: Sequence[int],
    errors: Errors,
) -> dict[str, Any]:
    """One image; `objects` and `shown` are indices of annotations and detections."""
    annotations, missed = dataset.ground_truth["annotations"], set(errors.missed.tolist())
    name_of = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    targets = [int(errors.object_of[index]) for index in shown]
    return {
        "path": str(record.path.absolute()) if record.archive is None else None,
        "name": record.path.name,
        "image_id": record.image_id,
        "height": record.height,
        "width": record.width,
        "objects": [
            {
                "box": _corners(annotations[index]["bbox"]),
                "class": name_of[annotations[index]["category_id"]],
                "missed": index in missed,
            }
            for index in objects
        ],
        "detections": [
            {
                "box": _corners(found.boxes_xywh[index].tolist()),
                "class": name_of[int(found.category_ids[index])],
                "score": round(float(found.scores[index]), 4),
                "kind": errors.kinds[index],
                "object": name_of[annotations[target]["category_id"]] if target >= 0 else None,
            }
            for index, target in zip(shown, targets, strict=True)
        ],
    }


def _corners(box_xywh: Sequence[float]) -> list[float]:
    x, y, width, height = box_xywh
    return [round(value, 2) for value in (x, y, x + width, y + height)]
