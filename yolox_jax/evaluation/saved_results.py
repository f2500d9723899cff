"""Detections that were saved as COCO results, by this program or another."""

import json
from pathlib import Path
from typing import Any

from yolox_jax.data.sources.dataset import DataError, Dataset
from yolox_jax.evaluation.coco import check_results, metrics_of
from yolox_jax.evaluation.coco_scorers import Result, open_scorer
from yolox_jax.evaluation.runner import Evaluation

KEYS: dict[str, tuple[type, ...]] = {"image_id": (int,), "category_id": (int,), "bbox": (list,), "score": (int, float)}


def read_results(path: Path, dataset: Dataset) -> list[Result]:
    """Read a JSON list of detections: image_id, category_id, bbox (x, y, width, height in px), score.

    Args:
        path: the file.
        dataset: what was detected in.

    Returns:
        The detections in the order of the images of the data set, and for each of them best first.

    Raises:
        DataError: the file cannot be read, or holds a detection that cannot be scored; the message names it.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is no valid JSON: {error}. Was it copied or downloaded whole?") from error
    if not isinstance(content, list):
        raise DataError(f"{path} holds no list of detections, as evaluate.py --detections writes it")
    results = [_result(entry, f"{path}: detection {place}") for place, entry in enumerate(content)]
    try:
        check_results(results, dataset)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    place_of = {record.image_id: place for place, record in enumerate(dataset.records)}
    return sorted(results, key=lambda result: (place_of[result["image_id"]], -result["score"]))


def evaluate_results(dataset: Dataset, results: list[Result]) -> Evaluation:
    """Score saved detections against all images of a data set."""
    image_ids = [record.image_id for record in dataset.records]
    scorer = open_scorer(dataset.ground_truth)
    scorer.add(image_ids, results)
    accumulated = scorer.finish()
    metrics = metrics_of(accumulated, dataset, num_images=len(image_ids), num_detections=len(results))
    return Evaluation(metrics, accumulated, image_ids, results, losses=None)


def _result(entry: Any, where: str) -> Result:
    for key, kind in KEYS.items():
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"{where}: {key} is {value!r}, which is missing or of the wrong type")
    box = entry["bbox"]
    if len(box) != 4 or not all(isinstance(side, int | float) and not isinstance(side, bool) for side in box):
        raise DataError(f"{where}: bbox is {box!r}; it must be [x, y, width, height] in px")
    return {key: entry[key] for key in KEYS}
