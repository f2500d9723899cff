"""Operating points: the score threshold of each class that balances precision and recall."""

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
    wrong = np.array([kind is not None for kind in errors.kinds], bool)
    correct = ~wrong & (np.asarray(errors.object_of) >= 0)
    counted = wrong | correct  # the others are ignored, see `Errors.kinds`
    counted_images = set(image_ids)
    num_objects = Counter(
        annotation["category_id"]
        for annotation in dataset.ground_truth["annotations"]
        if annotation["image_id"] in counted_images and not annotation["iscrowd"]
    )
    per_class = {}
    for name, category in zip(dataset.class_names, dataset.category_ids, strict=True):
        own = counted & (found.category_ids == category)
        per_class[name] = _best(found.scores[own], correct[own], num_objects[category])
    return _best(found.scores[counted], correct[counted], num_objects.total()), per_class


def _best(scores: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], num_objects: int) -> OperatingPoint:
    if not correct.any():
        return NOWHERE
    order = np.argsort(-scores, kind="stable")
    true_positives: Int[np.ndarray, " N"] = np.cumsum(correct[order])
    kept = np.arange(1, len(scores) + 1)
    f1 = 2 * true_positives / (kept + num_objects)
    # A threshold keeps all detections of one score or none.
    last_of_score = np.append(np.diff(scores[order]) < 0, True)
    best = int(np.argmax(np.where(last_of_score, f1, -1.0)))
    return OperatingPoint(
        float(scores[order][best]),
        float(true_positives[best] / kept[best]),
        float(true_positives[best] / num_objects),
        float(f1[best]),
    )
