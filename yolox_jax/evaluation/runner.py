"""Runs a detector over a data set and scores what it finds."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from yolox_jax.config import ConfigError, EvaluationConfig
from yolox_jax.data.pipeline import evaluation_batches
from yolox_jax.data.sources.dataset import Dataset
from yolox_jax.detector import Detector
from yolox_jax.evaluation.coco import Metrics, score, to_coco
from yolox_jax.structures import Detections
from yolox_jax.text import shortened

MOST_NAMES = 10
"""Class names that a message lists."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation."""

    metrics: Metrics
    results: list[dict[str, Any]]
    """Every detection as a COCO result: image_id, category_id, bbox (x, y, width, height in px), score."""


def evaluate(
    detector: Detector,
    dataset: Dataset,
    config: EvaluationConfig,
    *,
    broken_images: Literal["skip", "stop"] = "skip",
    num_threads: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Detect objects in all images of a data set and compute the COCO figures.

    Args:
        detector: its network, input size and class order are used; the thresholds are those of `config`.
        dataset: images and ground truth, with as many classes as the detector has.
        config: batch size and thresholds.
        broken_images: whether an unreadable image is left out of the figures or stops the evaluation.
        num_threads: threads that load images.
        on_progress: called after each batch with the number of images done and the number of all images.

    Raises:
        ConfigError: if the detector and the data set differ in their number of classes.
        yolox_jax.data.image.BrokenImage: at an unreadable image, if `broken_images` is "stop".
    """
    check_classes(detector, dataset)
    results: list[dict[str, Any]] = []
    image_ids: set[int] = set()
    num_done = 0
    waiting: tuple[Detections, np.ndarray] | None = None

    def collect(detections: Detections, indices: np.ndarray) -> None:
        nonlocal num_done
        results.extend(to_coco(detections, indices, dataset))
        image_ids.update(dataset.records[index].image_id for index in indices if index >= 0)
        num_done = min(num_done + len(indices), len(dataset.records))
        if on_progress is not None:
            on_progress(num_done, len(dataset.records))

    batches = evaluation_batches(
        dataset, detector.input_size, config.batch_size, broken_images=broken_images, num_threads=num_threads
    )
    for batch in batches:
        detections = detector.detect_batch(
            batch["images"],
            batch["ratios"],
            score_threshold=config.score_threshold,
            iou_threshold=config.iou_threshold,
            max_detections=config.max_detections,
        )
        # The call above returns before the device is done: results are fetched one batch late, so that the next
        # images are read meanwhile.
        if waiting is not None:
            collect(*waiting)
        waiting = (detections, batch["indices"])
    if waiting is not None:
        collect(*waiting)
    return Evaluation(metrics=score(dataset, results, image_ids=image_ids), results=results)


def check_classes(detector: Detector, dataset: Dataset) -> None:
    """Raise ConfigError, naming the classes of both, if the detector and the data set differ in their number."""
    if len(detector.class_names) == len(dataset.class_names):
        return
    ours, theirs = (shortened(names, MOST_NAMES) for names in (detector.class_names, dataset.class_names))
    raise ConfigError(
        f"the weights have {len(detector.class_names)} classes ({ours}), but the data set {dataset.name} has "
        f"{len(dataset.class_names)} ({theirs}). Evaluate on the data set that the weights were trained for, or "
        "fine-tune them on this one first: train.py --model.weights W"
    )
