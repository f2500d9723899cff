"""Which images to look at first: those with the worst errors of each kind."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from yolox_jax.data.sources.dataset import Dataset, Record
from yolox_jax.evaluation.coco_scorers import Result
from yolox_jax.evaluation.errors import ErrorKind, Errors

IMAGES_PER_KIND = 8
"""Enough to see a pattern, few enough to look at."""


def worst_images(
    dataset: Dataset,
    results: Sequence[Result],
    errors: Errors,
    *,
    image_ids: Collection[int],
    score_threshold: float,
    count: int = IMAGES_PER_KIND,
) -> dict[ErrorKind, list[dict[str, Any]]]:
    """The images with the worst errors of each kind, worst first.

    A false positive is the worse the higher its score: the detector was sure of it. Of missed objects, which nothing
    was sure of, the images with the most come first, of these the one with the largest object.

    Args:
        dataset: images and ground truth.
        results: the detections.
        errors: what is wrong with each of them, from `sort_errors`.
        image_ids: the images that count.
        score_threshold: detections below this are not shown.
        count: most images of a kind.

    Returns:
        For each kind the images, as plain JSON values: `path`, `image_id`, `height`, `width` in px, `objects` with
        `box` (x1, y1, x2, y2 in px), `class` and `missed`, and `detections` with `box`, `class`, `score`, `kind`,
        which is null where correct, and `object`, the class of the object that the kind refers to.
    """
    shown: defaultdict[int, list[int]] = defaultdict(list)
    for place, result in enumerate(results):
        if result["score"] >= score_threshold:
            shown[result["image_id"]].append(place)
    badness: dict[ErrorKind, dict[int, tuple[float, float]]] = {kind: {} for kind in ErrorKind}
    for image_id, places in shown.items():
        for place in places:
            kind = errors.kinds[place]
            if kind is not None:
                worst = badness[kind].get(image_id, (0.0, 0.0))
                badness[kind][image_id] = max(worst, (results[place]["score"], 0.0))
    annotations = dataset.ground_truth["annotations"]
    missed = set(errors.missed.tolist())
    for place in missed:
        image_id = annotations[place]["image_id"]
        number, largest = badness[ErrorKind.MISSED].get(image_id, (0.0, 0.0))
        badness[ErrorKind.MISSED][image_id] = (number + 1, max(largest, annotations[place]["area"]))

    records = {record.image_id: record for record in dataset.records}
    chosen = {
        kind: [image_id for image_id, _ in sorted(images.items(), key=lambda item: item[1], reverse=True)[:count]]
        for kind, images in badness.items()
    }
    wanted = {image_id for images in chosen.values() for image_id in images} & set(image_ids)
    objects: defaultdict[int, list[int]] = defaultdict(list)
    for place, annotation in enumerate(annotations):
        if annotation["image_id"] in wanted and not annotation["iscrowd"]:
            objects[annotation["image_id"]].append(place)
    name_of = dict(zip(dataset.category_ids, dataset.class_names, strict=True))

    def entry(record: Record) -> dict[str, Any]:
        return {
            "path": str(record.path.absolute()),
            "image_id": record.image_id,
            "height": record.height,
            "width": record.width,
            "objects": [
                {
                    "box": _corners(annotations[place]["bbox"]),
                    "class": name_of[annotations[place]["category_id"]],
                    "missed": place in missed,
                }
                for place in objects[record.image_id]
            ],
            "detections": [
                {
                    "box": _corners(results[place]["bbox"]),
                    "class": name_of[results[place]["category_id"]],
                    "score": round(results[place]["score"], 4),
                    "kind": errors.kinds[place],
                    "object": name_of[annotations[target]["category_id"]] if target >= 0 else None,
                }
                for place in shown[record.image_id]
                for target in [int(errors.object_of[place])]
            ],
        }

    return {kind: [entry(records[image_id]) for image_id in images] for kind, images in chosen.items()}


def _corners(box_xywh: Sequence[float]) -> list[float]:
    x, y, width, height = box_xywh
    return [round(value, 2) for value in (x, y, x + width, y + height)]
