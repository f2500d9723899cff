"""Which images to look at first: those with the worst errors of each kind."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.evaluation.coco_scorers import Result
from yolox_jax.evaluation.errors import ErrorKind, Errors

IMAGES_PER_KIND = 8
"""Enough to see a pattern, few enough to look at."""


def worst_images(
    dataset: Dataset,
    results: Sequence[Result],
    errors: Errors,
    *,
    score_threshold: float,
) -> dict[ErrorKind, list[dict[str, Any]]]:
    """The `IMAGES_PER_KIND` images with the worst errors of each kind, worst first.

    A false positive is the worse the higher its score: the detector was sure of it. Of missed objects, which nothing
    was sure of, the images with the most come first, of these the one with the largest object.

    Args:
        dataset: images and ground truth.
        results: the detections.
        errors: what is wrong with each of them, from `sort_errors`.
        score_threshold: detections below this are not shown, nor are those that do not count.

    Returns:
        For each kind the images, as plain JSON values: `path` (null for one in an archive), `name`, `image_id`,
        `height` and `width` in px, `objects` with `box` (x1, y1, x2, y2 in px), `class` and `missed`, and `detections`
        with `box`, `class`, `score`, `kind`, which is null where correct, and `object`, the class of the object that
        the kind refers to.
    """
    shown: defaultdict[int, list[int]] = defaultdict(list)
    for place, result in enumerate(results):
        counts = errors.kinds[place] is not None or errors.object_of[place] >= 0
        if counts and result["score"] >= score_threshold:
            shown[result["image_id"]].append(place)
    chosen = {
        kind: sorted(badness, key=badness.__getitem__, reverse=True)[:IMAGES_PER_KIND]
        for kind, badness in _badness(dataset, results, errors, shown).items()
    }
    wanted = {image_id for images in chosen.values() for image_id in images}
    objects: defaultdict[int, list[int]] = defaultdict(list)
    for place, annotation in enumerate(dataset.ground_truth["annotations"]):
        if annotation["image_id"] in wanted and not annotation["iscrowd"]:
            objects[annotation["image_id"]].append(place)
    entries = {
        record.image_id: _entry(dataset, record, objects[record.image_id], results, shown[record.image_id], errors)
        for record in dataset.records
        if record.image_id in wanted
    }
    return {kind: [entries[image_id] for image_id in images] for kind, images in chosen.items()}


def _badness(
    dataset: Dataset, results: Sequence[Result], errors: Errors, shown: Mapping[int, list[int]]
) -> dict[ErrorKind, dict[int, tuple[float, float]]]:
    """How bad the errors of each kind are in each image that has any; the larger, the worse."""
    badness: dict[ErrorKind, dict[int, tuple[float, float]]] = {kind: {} for kind in ErrorKind}
    for image_id, places in shown.items():
        for place in places:
            kind = errors.kinds[place]
            if kind is not None:
                worst = badness[kind].get(image_id, (0.0, 0.0))
                badness[kind][image_id] = max(worst, (results[place]["score"], 0.0))
    of_missed = badness[ErrorKind.MISSED]
    for place in errors.missed.tolist():
        annotation = dataset.ground_truth["annotations"][place]
        number, largest = of_missed.get(annotation["image_id"], (0.0, 0.0))
        of_missed[annotation["image_id"]] = (number + 1, max(largest, annotation["area"]))
    return badness


def _entry(
    dataset: Dataset,
    record: Record,
    objects: Sequence[int],
    results: Sequence[Result],
    shown: Sequence[int],
    errors: Errors,
) -> dict[str, Any]:
    """One image: `objects` and `shown` are places among the annotations and the results."""
    annotations, missed = dataset.ground_truth["annotations"], set(errors.missed.tolist())
    name_of = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    targets = [int(errors.object_of[place]) for place in shown]
    return {
        "path": str(record.path.absolute()) if record.archive is None else None,
        "name": record.path.name,
        "image_id": record.image_id,
        "height": record.height,
        "width": record.width,
        "objects": [
            {
                "box": _corners(annotations[place]["bbox"]),
                "class": name_of[annotations[place]["category_id"]],
                "missed": place in missed,
            }
            for place in objects
        ],
        "detections": [
            {
                "box": _corners(results[place]["bbox"]),
                "class": name_of[results[place]["category_id"]],
                "score": round(results[place]["score"], 4),
                "kind": errors.kinds[place],
                "object": name_of[annotations[target]["category_id"]] if target >= 0 else None,
            }
            for place, target in zip(shown, targets, strict=True)
        ],
    }


def _corners(box_xywh: Sequence[float]) -> list[float]:
    x, y, width, height = box_xywh
    return [round(value, 2) for value in (x, y, x + width, y + height)]
