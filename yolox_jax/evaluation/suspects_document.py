"""Suspect annotations as one JSON document: `suspects.json`."""

import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.results import ScoredBoxes
from yolox_jax.evaluation.suspects import Suspect, SuspectKind


def describe_suspects(
    suspects: Sequence[Suspect],
    dataset: Dataset,
    found: ScoredBoxes,
    *,
    image_ids: Sequence[int],
    score_threshold: float,
    weights: str,
) -> dict[str, Any]:
    """Describe suspects as plain JSON values.

    Args:
        suspects: from `find_suspects`, the most suspicious first.
        dataset: the annotations.
        found: the detections.
        image_ids: the images that the detector saw.
        score_threshold: lowest score of a confident detection.
        weights: the source of the weights, for the reader.

    Returns:
        `weights`, `data`, `date`, `score_threshold`, `num_images`, `num_annotations` (without crowds), `counts` by
        kind, and `suspects`, each with `rank` from 1, `kind`, `score`, `image` (its path), `name` (of the file),
        `image_id`, `annotation` and `detection` (null if there is none), and `iou` of the two (null without both).
        Annotation and detection have `class` and `box_xyxy` (px of the image). The annotation also has its `index`
        among those of its image, from 0, and the `id` that its file gives it (null in formats without ids), and the
        detection its `score`.
    """
    seen = set(image_ids)
    annotations = dataset.ground_truth["annotations"]
    counts = Counter(suspect.kind for suspect in suspects)
    describe = _describer(dataset, found)
    return {
        "weights": weights,
        "data": dataset.name,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "score_threshold": score_threshold,
        "num_images": len(seen),
        "num_annotations": sum(entry["image_id"] in seen and not entry["iscrowd"] for entry in annotations),
        "counts": {kind.value: counts[kind] for kind in SuspectKind},
        "suspects": [{"rank": rank, **describe(suspect)} for rank, suspect in enumerate(suspects, start=1)],
    }


def _describer(dataset: Dataset, found: ScoredBoxes) -> Callable[[Suspect], dict[str, Any]]:
    annotations = dataset.ground_truth["annotations"]
    record_of = {record.image_id: record for record in dataset.records}
    name_of = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    num_before: Counter[int] = Counter()
    index_of = []
    for entry in annotations:
        index_of.append(num_before[entry["image_id"]])
        num_before[entry["image_id"]] += 1

    def annotation(number: int | None) -> dict[str, Any] | None:
        if number is None:
            return None
        entry = annotations[number]
        return {
            "id": entry.get("source_id"),
            "index": index_of[number],
            "class": name_of[entry["category_id"]],
            "box_xyxy": _corners(entry["bbox"]),
        }

    def detection(number: int | None) -> dict[str, Any] | None:
        if number is None:
            return None
        return {
            "class": name_of[int(found.category_ids[number])],
            "score": round(float(found.scores[number]), 4),
            "box_xyxy": _corners(found.boxes_xywh[number].tolist()),
        }

    def describe(suspect: Suspect) -> dict[str, Any]:
        record = record_of[suspect.image_id]
        return {
            "kind": suspect.kind.value,
            "score": round(suspect.score, 4),
            "image": str(record.path),
            "name": record.path.name,
            "image_id": suspect.image_id,
            "annotation": annotation(suspect.annotation),
            "detection": detection(suspect.detection),
            "iou": None if suspect.iou is None else round(suspect.iou, 4),
        }

    return describe


def _corners(box_xywh: Sequence[float]) -> list[float]:
    x, y, width, height = box_xywh
    return [round(value, 2) for value in (x, y, x + width, y + height)]
