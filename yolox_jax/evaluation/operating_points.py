"""Operating points: score thresholds that balance precision and recall, or that keep a precision."""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.errors import Errors
from yolox_jax.evaluation.results import ScoredBoxes


class OperatingPoint(NamedTuple):
    """A score threshold, and the precision and recall it gives at an IoU of 0.5."""

    threshold: float
    """Lowest score that is kept; NaN if there is no correct detection."""
    precision: float
    recall: float
    f1: float
    """Harmonic mean of precision and recall."""


NOWHERE = OperatingPoint(float("nan"), 0.0, 0.0, 0.0)
"""Used when there is no correct detection, so that no threshold is better than another."""


def best_operating_points(
    dataset: Dataset, found: ScoredBoxes, errors: Errors, *, image_ids: Collection[int]
) -> tuple[OperatingPoint, dict[str, OperatingPoint]]:
    """Find the score thresholds with the best F1.

    Args:
        dataset: holds the ground truth.
        found: the detections.
        errors: the error type of each detection, from `sort_errors`.
        image_ids: the images to count.

    Returns:
        The operating point of all detections together, a single threshold for all classes; and that of each class.
    """
    counted, correct, num_objects = _count(dataset, errors, image_ids)
    per_class = {}
    for name, category in zip(dataset.class_names, dataset.category_ids, strict=True):
        own = counted & (found.category_ids == category)
        per_class[name] = _best(found.scores[own], correct[own], num_objects[category])
    return _best(found.scores[counted], correct[counted], num_objects.total()), per_class


def recall_at_precision(
    dataset: Dataset, found: ScoredBoxes, errors: Errors, precision: float, *, image_ids: Collection[int]
) -> float:
    """Find the highest recall of a score threshold that keeps a precision, with a single threshold for all classes.

    Args:
        dataset: holds the ground truth.
        found: the detections.
        errors: the error type of each detection, from `sort_errors`.
        precision: lowest precision, at an IoU of 0.5.
        image_ids: the images to count.

    Returns:
        The recall; 0 if no threshold keeps the precision.
    """
    counted, correct, num_objects = _count(dataset, errors, image_ids)
    _, true_positives, kept = _thresholds(found.scores[counted], correct[counted])
    good = true_positives[true_positives / kept >= precision]
    return float(good.max(initial=0) / max(num_objects.total(), 1))


def _count(
    dataset: Dataset, errors: Errors, image_ids: Collection[int]
) -> tuple[Bool[np.ndarray, " N"], Bool[np.ndarray, " N"], Counter[int]]:
    """Which detections are right or wrong, which of them are right, and the number of objects of each category."""
    wrong = np.array([kind is not None for kind in errors.kinds], bool)
    correct = ~wrong & (np.asarray(errors.object_of) >= 0)
    images = set(image_ids)
    num_objects = Counter(
        annotation["category_id"]
        for annotation in dataset.ground_truth["annotations"]
        if annotation["image_id"] in images and not annotation["iscrowd"]
    )
    return wrong | correct, correct, num_objects  # the others are ignored, see `Errors.kinds`


def _thresholds(
    scores: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " T"], Int[np.ndarray, " T"], Int[np.ndarray, " T"]]:
    """Each score as a threshold, highest first: the score, and the right ones of the detections that it keeps, and all.

    A threshold keeps all detections of one score or none.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.append(np.diff(scores[order]) < 0, True)[: len(scores)]
    kept = np.arange(1, len(scores) + 1)
    return scores[order][last_of_score], np.cumsum(correct[order])[last_of_score], kept[last_of_score]


def _best(scores: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], num_objects: int) -> OperatingPoint:
    if not correct.any():
        return NOWHERE
    thresholds, true_positives, kept = _thresholds(scores, correct)
    f1 = 2 * true_positives / (kept + num_objects)
    best = int(np.argmax(f1))
    return OperatingPoint(
        float(thresholds[best]),
        float(true_positives[best] / kept[best]),
        float(true_positives[best] / num_objects),
        float(f1[best]),
    )
