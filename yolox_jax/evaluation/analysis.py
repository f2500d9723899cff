"""The full analysis of an evaluation as one JSON document: `metrics.json`."""

import datetime
import importlib.metadata
import math
import platform
from collections import Counter
from typing import Any

import jax

from yolox_jax.config import Config
from yolox_jax.config.serialization import config_to_dict
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.best_by import best_by_metrics, best_by_value
from yolox_jax.evaluation.coco import IOU_THRESHOLDS
from yolox_jax.evaluation.coco_scorers import Accumulated
from yolox_jax.evaluation.confusion import confusion_matrix
from yolox_jax.evaluation.errors import FOREGROUND_IOU, sort_errors
from yolox_jax.evaluation.galleries import worst_images
from yolox_jax.evaluation.operating_points import best_operating_points
from yolox_jax.evaluation.runner import Evaluation
from yolox_jax.files import null_if_not_finite

VERSION = 2
"""Format version of the document; readers reject others."""

LOWEST_SHOWN_SCORE = 0.05
"""Minimum score of detections in pictures, used if there is no best threshold."""

AREAS_PX2 = {"small": 32**2, "medium": 96**2, "large": math.inf}
"""Upper limits of COCO's object areas."""

PACKAGES = ("yolox-jax", "jax", "flax", "numpy", "hotcoco", "pycocotools", "opencv-python-headless")


def analyse(evaluation: Evaluation, dataset: Dataset, *, config: Config, weights: str) -> dict[str, Any]:
    """Analyse an evaluation; the result is plain JSON values.

    Args:
        evaluation: an evaluation of `dataset`.
        dataset: images and ground truth.
        config: the config of the evaluation, or of the run that it is part of.
        weights: the source of the weights, for the reader.

    Returns:
        `version`; the COCO figures, `per_class`, `num_images` and `num_detections` as `CocoMetrics.to_json` gives them;
        unless the best weights are chosen by AP, `best_by`, the name of the figure, and its value under that name;
        `losses`; `tiling` (size of the tiles in px, and overlap); `per_iou`; `per_class_figures`; `curves` (precision
        at 101 recalls); `operating_points` (thresholds with the best F1); `confusion`; `errors` (TIDE); `galleries`
        (images to look at); `data`, `settings`, `weights`, `environment`, `date`.
    """
    found, image_ids, best_by = evaluation.found, evaluation.image_ids, config.evaluation.best_by
    errors = sort_errors(dataset, found, image_ids=image_ids)
    overall, per_class = best_operating_points(dataset, found, errors, image_ids=image_ids)
    threshold = LOWEST_SHOWN_SCORE if math.isnan(overall.threshold) else overall.threshold
    metrics = evaluation.metrics
    confusion = confusion_matrix(dataset, found, errors, image_ids=image_ids, score_threshold=threshold)
    galleries = worst_images(dataset, found, errors, score_threshold=threshold)
    document = {
        "version": VERSION,
        **metrics.to_json(),
        **best_by_metrics(best_by, best_by_value(best_by, evaluation, dataset, errors)),
        "losses": evaluation.losses,
        "tiling": evaluation.tiling and evaluation.tiling._asdict(),
        "per_iou": metrics.per_iou,
        "per_class_figures": metrics.per_class_figures,
        "curves": _curves(evaluation.accumulated, dataset),
        "operating_points": {
            "all": overall._asdict(),
            "per_class": {name: point._asdict() for name, point in per_class.items()},
        },
        "confusion": {"score_threshold": threshold, "iou_threshold": FOREGROUND_IOU, "matrix": confusion.tolist()},
        "errors": {
            "AP50": errors.ap50,
            "counts": {kind.value: count for kind, count in errors.counts().items()},
            "costs": {kind.value: cost for kind, cost in errors.costs.items()},
            "false_positives": errors.cost_false_positives,
            "false_negatives": errors.cost_false_negatives,
        },
        "galleries": {kind.value: images for kind, images in galleries.items()},
        "data": _summary(dataset, image_ids),
        "settings": config_to_dict(config),
        "weights": weights,
        "environment": _environment(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    return null_if_not_finite(document)


def _curves(accumulated: Accumulated, dataset: Dataset) -> dict[str, Any]:
    """Precision at the recalls 0, 0.01, ..., 1.

    The mean over the classes with objects at IoU 0.5, at 0.75 and over all IoUs, and each class at 0.5; None where
    there are no objects. Values are rounded to four decimals, finer than any plot shows.
    """
    column = {category: index for index, category in enumerate(accumulated.category_ids)}
    precision = accumulated.precision[..., 0, -1]  # IoU thresholds, recalls, classes
    counted = precision[0, 0] > -1
    per_iou: dict[str, list[float] | None] = {"0.50": None, "0.75": None, "0.50:0.95": None}
    if counted.any():
        mean = precision[:, :, counted].mean(axis=2)
        at = [mean[IOU_THRESHOLDS.index(0.5)], mean[IOU_THRESHOLDS.index(0.75)], mean.mean(axis=0)]
        per_iou = {name: values.round(4).tolist() for name, values in zip(per_iou, at, strict=True)}
    per_class = {
        name: precision[0, :, column[category]].round(4).tolist() if counted[column[category]] else None
        for name, category in zip(dataset.class_names, dataset.category_ids, strict=True)
    }
    return {"per_iou": per_iou, "per_class": per_class}


def _summary(dataset: Dataset, image_ids: list[int]) -> dict[str, Any]:
    """Counts the contents of the evaluated images."""
    evaluated = set(image_ids)
    name_of = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    annotations = [entry for entry in dataset.ground_truth["annotations"] if entry["image_id"] in evaluated]
    objects = [entry for entry in annotations if not entry["iscrowd"]]
    of_class = Counter(name_of[entry["category_id"]] for entry in objects)
    of_area = Counter(next(name for name, limit in AREAS_PX2.items() if entry["area"] < limit) for entry in objects)
    unreadable = [str(record.path) for record in dataset.records if record.image_id not in evaluated]
    return {
        "name": dataset.name,
        "class_names": list(dataset.class_names),
        "num_images": len(evaluated),
        "num_objects": len(objects),
        "num_crowds": len(annotations) - len(objects),
        "num_empty_images": len(evaluated - {entry["image_id"] for entry in objects}),
        "objects_per_class": {name: of_class[name] for name in dataset.class_names},
        "objects_per_area": {name: of_area[name] for name in AREAS_PX2},
        "unreadable_images": unreadable,
        "warnings": list(dataset.warnings),
    }


def _environment() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    devices = Counter(device.device_kind for device in jax.devices())
    return {
        "python": platform.python_version(),
        **versions,
        "devices": ", ".join(f"{count} x {kind}" for kind, count in devices.items()),
        "system": platform.platform(),
    }
