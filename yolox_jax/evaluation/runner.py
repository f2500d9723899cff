"""Runs a detector over a data set and scores what it finds."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from yolox_jax.config import ConfigError, EvaluationConfig
from yolox_jax.data.pipeline import Batch, evaluation_batches
from yolox_jax.data.sources.dataset import Dataset
from yolox_jax.detector import Detector
from yolox_jax.evaluation.coco import Metrics, score, to_coco
from yolox_jax.evaluation.gather import gather_rows
from yolox_jax.structures import Detections
from yolox_jax.text import shortened

MOST_NAMES = 10
"""Class names that a message lists."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation."""

    metrics: Metrics
    results: list[dict[str, Any]]
    """Every detection as a COCO result: image_id, category_id, bbox (x, y, width, height in px), score. In the order
    of the images, and for each of them best first."""


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

    Where there are several processes, each has to call this with its own detector of the same weights. Each detects in
    its share of the images, and all return the same, which is what one process would have returned.

    Args:
        detector: its network, input size and class order are used; the thresholds are those of `config`.
        dataset: images and ground truth, with as many classes as the detector has.
        config: batch size, which is rounded up so that the devices of the detector divide it, and thresholds.
        broken_images: whether an unreadable image is left out of the figures or stops the evaluation.
        num_threads: threads that load images.
        on_progress: called after each batch with the number of images done and the number of all images, counting
            those of this process.

    Raises:
        ConfigError: if the detector and the data set differ in their number of classes.
        yolox_jax.data.image.BrokenImage: at an unreadable image, if `broken_images` is "stop".
    """
    check_classes(detector, dataset)
    share = range(jax.process_index(), len(dataset.records), jax.process_count())
    batches = evaluation_batches(
        dataset,
        detector.image_size,
        detector.fitting_batch_size(config.batch_size),
        indices=share,
        broken_images=broken_images,
        num_threads=num_threads,
    )
    found, looked_at, num_done = [_NO_ROWS], [_NO_ROWS.indices], 0
    for detections, indices in _detect(detector, batches, config):
        found.append(_as_rows(detections, indices))
        looked_at.append(indices)
        num_done = min(num_done + len(indices), len(share))
        if on_progress is not None:
            on_progress(num_done, len(share))

    rows = gather_rows(jax.tree.map(lambda *parts: np.concatenate(parts), *found))
    order = np.argsort(rows.indices, kind="stable")  # by image; those of each image are best first already
    detections, indices = jax.tree.map(lambda array: array[order], rows)
    results = to_coco(detections, indices, dataset)
    places = gather_rows(np.concatenate(looked_at)).tolist()
    image_ids = {dataset.records[place].image_id for place in places if place >= 0}
    return Evaluation(metrics=score(dataset, results, image_ids=image_ids), results=results)


def _detect(
    detector: Detector, batches: Iterable[Batch], config: EvaluationConfig
) -> Iterator[tuple[Detections, Int[np.ndarray, " B"]]]:
    """The detections of each batch, with the places of its images in the records; -1 where there is no image."""
    waiting: tuple[Detections, np.ndarray] | None = None
    for batch in batches:
        detections = detector.detect_batch(
            batch["images"],
            batch["ratios"],
            score_threshold=config.score_threshold,
            iou_threshold=config.iou_threshold,
            max_detections=config.max_detections,
        )
        # The call above returns before the device is done: results are given out one batch late, so that the next
        # images are read meanwhile.
        if waiting is not None:
            yield waiting
        waiting = (detections, batch["indices"])
    if waiting is not None:
        yield waiting


class _Rows(NamedTuple):
    """Detections without padding, one a row: small enough to be kept and gathered for a whole data set."""

    detections: Detections
    """NumPy arrays, as those of a batch whose images have one detection each."""
    indices: Int[np.ndarray, " N"]
    """For each detection the place of its image in `dataset.records`; -1 where there is no image."""


_NO_ROWS = _Rows(
    Detections._make(
        [
            np.zeros((0, 1, 4), np.float32),
            np.zeros((0, 1), np.float32),
            np.zeros((0, 1), np.int32),
            np.zeros((0, 1), np.bool_),
        ]
    ),
    np.zeros(0, np.int32),
)


def _as_rows(detections: Detections, indices: Int[np.ndarray, " B"]) -> _Rows:
    images, slots = np.nonzero(np.asarray(detections.valid))
    return _Rows(jax.tree.map(lambda array: np.asarray(array)[images, slots, None], detections), indices[images])


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
