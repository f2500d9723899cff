"""The value of the figure that decides which weights of a run are the best (`evaluation.best_by`)."""

import math
from typing import Any

from yolox_jax.config import ConfigError
from yolox_jax.config.best_by import COCO_FIGURES, DEFAULT, parse_best_by
from yolox_jax.config.serialization import nearest
from yolox_jax.data.dataset import MAX_LISTED_NAMES, Dataset
from yolox_jax.evaluation.errors import Errors, sort_errors
from yolox_jax.evaluation.operating_points import best_operating_points, recall_at_precision
from yolox_jax.evaluation.runner import Evaluation
from yolox_jax.files import null_if_not_finite
from yolox_jax.text import shortened

AREAS_PX2 = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, math.inf)}
"""Areas of the objects that the COCO figures of each size count."""


def check_best_by(best_by: str, dataset: Dataset) -> None:
    """Check that evaluations of a dataset give the figure a value; AP may be without one, and then counts as 0.

    Raises:
        ConfigError: there is no such figure, or the dataset has no object that it counts.
    """
    figure = parse_best_by(best_by)
    if best_by == DEFAULT:
        return
    objects = [entry for entry in dataset.ground_truth["annotations"] if not entry["iscrowd"]]
    what = "objects"
    if figure.class_name is not None:
        category = _category(figure.class_name, dataset)
        objects = [entry for entry in objects if entry["category_id"] == category]
        what = f"objects of the class {figure.class_name!r}"
    kind, _, size = best_by.partition("_")
    if kind in ("AP", "AR") and size in AREAS_PX2:
        least, most = AREAS_PX2[size]
        objects = [entry for entry in objects if least <= entry["area"] <= most]
        what = f"{size} objects"
    if not objects:
        raise ConfigError(
            f"--evaluation.best-by {best_by}: the validation set {dataset.name} has no {what}. Choose another figure, "
            "such as AP, or another validation set"
        )


def _category(class_name: str, dataset: Dataset) -> int:
    if class_name not in dataset.class_names:
        raise ConfigError(
            f"--evaluation.best-by AP:{class_name}: the validation set {dataset.name} has no such class"
            f"{nearest(class_name, dataset.class_names)} It has {shortened(dataset.class_names, MAX_LISTED_NAMES)}"
        )
    return dataset.category_ids[dataset.class_names.index(class_name)]


def best_by_value(best_by: str, evaluation: Evaluation, dataset: Dataset, errors: Errors | None = None) -> float:
    """The value of the figure in an evaluation, a fraction; NaN if the dataset has no object that it counts.

    Args:
        best_by: the figure.
        evaluation: an evaluation of `dataset`.
        dataset: the ground truth.
        errors: from `sort_errors` for this evaluation, which F1 and recall are computed from, if they are known.
    """
    figure = parse_best_by(best_by)
    if best_by in COCO_FIGURES:
        return evaluation.metrics.figures[best_by]
    if figure.class_name is not None:
        return evaluation.metrics.per_class.get(figure.class_name, math.nan)
    found, image_ids = evaluation.found, evaluation.image_ids
    if errors is None:
        errors = sort_errors(dataset, found, image_ids=image_ids)
    if figure.precision is not None:
        return recall_at_precision(dataset, found, errors, figure.precision, image_ids=image_ids)
    return best_operating_points(dataset, found, errors, image_ids=image_ids)[0].f1


def best_by_metrics(best_by: str, value: float) -> dict[str, Any]:
    """What records of an evaluation add to the COCO figures: the figure and its value; nothing for AP, the default."""
    return {} if best_by == DEFAULT else null_if_not_finite({"best_by": best_by, best_by: value})
