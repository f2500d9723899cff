"""Runs a detector over a data set and scores what it finds."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from yolox_jax.config import ConfigError, EvaluationConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.pipeline import HostBatch, evaluation_batches
from yolox_jax.evaluation.coco import Metrics, check_results, metrics_of, to_coco
from yolox_jax.evaluation.coco_scorers import Accumulated, Result, Scorer, open_scorer
from yolox_jax.evaluation.gather import gather_rows
from yolox_jax.evaluation.validation_loss import ValidationLoss, mean_losses
from yolox_jax.inference.detector import Detector
from yolox_jax.structures import Detections
from yolox_jax.text import shortened

MOST_NAMES = 10
"""Class names that a message lists."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation."""

    metrics: Metrics
    accumulated: Accumulated
    """Precision and recall that the figures are means of."""
    image_ids: list[int]
    """The images that count: all that could be read."""
    results: list[Result]
    """Every detection as a COCO result: image_id, category_id, bbox (x, y, width, height in px), score. In the order
    of the images, and for each of them best first."""
    losses: dict[str, float] | None
    """From `mean_losses`, where they were wanted."""


def evaluate(
    detector: Detector,
    dataset: Dataset,
    config: EvaluationConfig,
    *,
    broken_images: Literal["skip", "stop"] = "skip",
    num_threads: int = 4,
    loss: ValidationLoss | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Detect objects in all images of a data set and compute the COCO figures.

    While the device detects, the next images are loaded, and with faster-coco-eval those done are matched with the
    ground truth. Where there are several processes, each has to call this with its own detector of the same weights.
    Each detects in its share of the images, and all return the same, which is what one process would have returned.

    Args:
        detector: its network, input size and class order are used; the thresholds are those of `config`.
        dataset: images and ground truth, with as many classes as the detector has.
        config: batch size, which is rounded up so that the devices of the detector divide it, and thresholds.
        broken_images: whether an unreadable image is left out of the figures or stops the evaluation.
        num_threads: threads that load images.
        loss: computes the losses besides, at the cost of a second pass of the network.
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
    tally = _Tally(dataset)
    alone = jax.process_count() == 1
    parts, num_done = [_NO_ROWS], 0
    for rows in _detect(detector, batches, config, loss):
        if alone:
            tally.add(rows)
        else:
            parts.append(rows)
        num_done = min(num_done + detector.fitting_batch_size(config.batch_size), len(share))
        if on_progress is not None:
            on_progress(num_done, len(share))
    if not alone:
        tally.add(_gathered(parts, with_losses=loss is not None))
    return tally.finish()


class _Rows(NamedTuple):
    """What was found in some images, without padding: small enough to be kept and gathered for a whole data set."""

    detections: Detections
    """NumPy arrays, as those of a batch whose images have one detection each."""
    detection_places: Int[np.ndarray, " N"]
    """For each detection the place of its image in `dataset.records`."""
    image_places: Int[np.ndarray, " B"]
    """Those of the images looked at."""
    losses: Float[np.ndarray, "B 5"] | None
    """From `ValidationLoss.sums`, where it is wanted."""


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
    np.zeros(0, np.int32),
    None,
)


def _detect(
    detector: Detector, batches: Iterable[HostBatch], config: EvaluationConfig, loss: ValidationLoss | None
) -> Iterator[_Rows]:
    """What is found in each batch."""
    waiting: tuple[Detections, Array | None, np.ndarray] | None = None
    for batch in batches:
        detections = detector.detect_batch(
            batch["images"],
            batch["ratios"],
            score_threshold=config.score_threshold,
            iou_threshold=config.iou_threshold,
            max_detections=config.max_detections,
        )
        losses = None if loss is None else loss.sums(batch["images"], batch["ratios"], batch["indices"])
        # The calls above return before the device is done: results are given out one batch late, so that the next
        # images are read meanwhile.
        if waiting is not None:
            yield _as_rows(*waiting)
        waiting = (detections, losses, batch["indices"])
    if waiting is not None:
        yield _as_rows(*waiting)


def _as_rows(detections: Detections, losses: Array | None, indices: Int[np.ndarray, " B"]) -> _Rows:
    present = indices >= 0
    images, slots = np.nonzero(np.asarray(detections.valid) & present[:, None])
    return _Rows(
        jax.tree.map(lambda array: np.asarray(array)[images, slots, None], detections),
        indices[images],
        indices[present],
        None if losses is None else np.asarray(losses)[present],
    )


def _gathered(parts: list[_Rows], *, with_losses: bool) -> _Rows:
    """What all processes have found, by image; that of each image is best first already."""
    if with_losses:  # also of a process without images, which has to gather the same arrays as the others
        parts[0] = parts[0]._replace(losses=np.zeros((0, 5), np.float32))
    own = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    detections, detection_places = gather_rows((own.detections, own.detection_places))
    image_places, losses = gather_rows((own.image_places, own.losses))
    by_image, order = np.argsort(detection_places, kind="stable"), np.argsort(image_places)
    return _Rows(
        jax.tree.map(lambda array: array[by_image], detections),
        detection_places[by_image],
        image_places[order],
        losses[order] if with_losses else None,
    )


class _Tally:
    """Takes what was found, in the order of the images, and scores it."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._scorer = open_scorer(dataset.ground_truth)
        self._image_ids: list[int] = []
        self._results: list[Result] = []
        self._losses: list[Float[np.ndarray, "B 5"]] = []

    def add(self, rows: _Rows) -> None:
        results = to_coco(rows.detections, rows.detection_places, self._dataset)
        image_ids = [self._dataset.records[place].image_id for place in rows.image_places.tolist()]
        self._scorer.add(image_ids, results)
        self._results += results
        self._image_ids += image_ids
        if rows.losses is not None:
            self._losses.append(rows.losses)

    def finish(self) -> Evaluation:
        losses = mean_losses(np.concatenate(self._losses)) if self._losses else None
        return _evaluation(self._scorer, self._dataset, self._image_ids, self._results, losses)


def evaluate_results(
    dataset: Dataset,
    results: Sequence[Result],
    *,
    fast: bool | None = None,
) -> Evaluation:
    """Score detections that are there already, on all images of a data set.

    Args:
        dataset: holds the ground truth, crowds included.
        results: in any order; neither they nor the ground truth are changed. May be empty.
        fast: as for `open_scorer`.

    Raises:
        DataError: see `check_results`.
    """
    check_results(results, dataset)
    place_of = {record.image_id: place for place, record in enumerate(dataset.records)}
    ordered = sorted(results, key=lambda result: (place_of[result["image_id"]], -result["score"]))
    scorer = open_scorer(dataset.ground_truth, fast=fast)
    scorer.add(list(place_of), ordered)
    return _evaluation(scorer, dataset, list(place_of), ordered, losses=None)


def _evaluation(
    scorer: Scorer, dataset: Dataset, image_ids: list[int], results: list[Result], losses: dict[str, float] | None
) -> Evaluation:
    accumulated = scorer.finish()
    metrics = metrics_of(accumulated, dataset, num_images=len(image_ids), num_detections=len(results))
    return Evaluation(metrics, accumulated, image_ids, results, losses)


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
