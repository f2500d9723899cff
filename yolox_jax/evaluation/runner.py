"""Runs a detector on a dataset and scores its detections."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from yolox_jax.config import EvaluationConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.pipeline import HostBatch, evaluation_batches
from yolox_jax.evaluation.classes import check_classes
from yolox_jax.evaluation.coco import CocoMetrics, check_results, metrics_of, to_coco
from yolox_jax.evaluation.coco_scorers import Accumulated, Result, Scorer, open_scorer
from yolox_jax.evaluation.gather import gather_rows
from yolox_jax.evaluation.validation_loss import ValidationLoss, mean_losses
from yolox_jax.inference.detector import Detector
from yolox_jax.structures import Detections


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation."""

    metrics: CocoMetrics
    accumulated: Accumulated = dataclasses.field(repr=False)
    """The precision-recall curves that the metrics average."""
    image_ids: list[int] = dataclasses.field(repr=False)
    """The images that were evaluated: all that could be read."""
    results: list[Result] = dataclasses.field(repr=False)
    """Every detection as a COCO result: image_id, category_id, bbox (x, y, width, height in px), score. In the order
    of the images, best first within each."""
    losses: dict[str, float] | None
    """From `mean_losses`; None if they were not computed."""


def evaluate_detector(
    detector: Detector,
    dataset: Dataset,
    config: EvaluationConfig,
    *,
    broken_images: Literal["skip", "stop"] = "skip",
    num_threads: int = 4,
    loss: ValidationLoss | None = None,
    category_ids: Sequence[int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Detect objects in all images of a dataset and compute the COCO metrics.

    The next images are loaded while the device detects and, with faster-coco-eval, earlier detections are matched with
    the ground truth. With several processes, each must call this with its own detector, with the same weights. Each
    processes its share of the images, and all return the result of a single process.

    Args:
        detector: provides the network, its input size and the class order; the thresholds are those of `config`.
        dataset: images and ground truth, with the classes of the detector in the same order unless `category_ids` are
            given.
        config: thresholds and batch size, which is rounded up to a multiple of the number of devices.
        broken_images: whether an unreadable image is left out of the metrics or stops the evaluation.
        num_threads: threads that load images.
        loss: also compute the losses, in the same pass of the network.
        category_ids: category in the dataset of each class of the detector (see `match_classes`).
        on_progress: called after each batch with the number of images done and the total, both of this process.

    Raises:
        ConfigError: the detector and the dataset differ in their classes, and no `category_ids` are given.
        yolox_jax.data.image.BrokenImage: an image cannot be read, and `broken_images` is "stop".
    """
    if category_ids is None:
        check_classes(detector.class_names, dataset)
    share = range(jax.process_index(), len(dataset.records), jax.process_count())
    batch_size = detector.network.fitting_batch_size(config.batch_size)
    batches = evaluation_batches(
        dataset,
        detector.image_size,
        batch_size,
        indices=share,
        broken_images=broken_images,
        num_threads=num_threads,
    )
    collector = _Collector(dataset, dataset.category_ids if category_ids is None else category_ids)
    single_process = jax.process_count() == 1
    parts, num_done = [_NO_OUTPUTS], 0
    with contextlib.closing(batches):
        for outputs in _detect_batches(detector, batches, config, loss):
            if single_process:
                collector.add(outputs)
            else:
                parts.append(outputs)
            num_done = min(num_done + batch_size, len(share))
            if on_progress is not None:
                on_progress(num_done, len(share))
    if not single_process:
        collector.add(_gather(parts, loss))
    return collector.finish()


class _Outputs(NamedTuple):
    """Detections and losses of some images, without padding: small enough to keep and gather for a whole dataset."""

    detections: Detections
    """NumPy arrays, as those of a batch whose images have one detection each."""
    detection_indices: Int[np.ndarray, " N"]
    """For each detection, the index of its image in `dataset.records`."""
    image_indices: Int[np.ndarray, " B"]
    """The indices of the images in `dataset.records`."""
    loss_sums: Float[np.ndarray, "B N"] | None
    """From `LossSums`; None if the losses are not computed."""


_NO_OUTPUTS = _Outputs(
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


def _detect_batches(
    detector: Detector, batches: Iterable[HostBatch], config: EvaluationConfig, loss: ValidationLoss | None
) -> Iterator[_Outputs]:
    thresholds = detector.thresholds(config.score_threshold, config.iou_threshold)
    pending: tuple[Detections, Array | None, np.ndarray] | None = None
    for batch in batches:
        detections, loss_sums = detector.network.detect(
            batch["images"],
            batch["ratios"],
            thresholds,
            max_detections=config.max_detections,
            raw_function=None if loss is None else loss.sums,
            raw_inputs=() if loss is None else loss.targets(batch["ratios"], batch["indices"]),
        )
        # The call returns before the device is done. Outputs are yielded one batch late, so that the next images are
        # read meanwhile.
        if pending is not None:
            yield _without_padding(*pending)
        pending = (detections, loss_sums, batch["indices"])
    if pending is not None:
        yield _without_padding(*pending)


def _without_padding(detections: Detections, loss_sums: Array | None, indices: Int[np.ndarray, " B"]) -> _Outputs:
    is_image = indices >= 0
    images, slots = np.nonzero(np.asarray(detections.valid) & is_image[:, None])
    return _Outputs(
        jax.tree.map(lambda array: np.asarray(array)[images, slots, None], detections),
        indices[images],
        indices[is_image],
        None if loss_sums is None else np.asarray(loss_sums)[is_image],
    )


def _gather(parts: list[_Outputs], loss: ValidationLoss | None) -> _Outputs:
    """The outputs of all processes, in the order of the images; those of each image are best first already."""
    if loss is not None:  # also for a process without images, which must gather the same arrays as the others
        parts[0] = parts[0]._replace(loss_sums=np.zeros((0, len(loss.sums.names) + 1), np.float32))
    own = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    detections, detection_indices = gather_rows((own.detections, own.detection_indices))
    image_indices, loss_sums = gather_rows((own.image_indices, own.loss_sums))
    by_image, order = np.argsort(detection_indices, kind="stable"), np.argsort(image_indices)
    return _Outputs(
        jax.tree.map(lambda array: array[by_image], detections),
        detection_indices[by_image],
        image_indices[order],
        loss_sums[order] if loss is not None else None,
    )


class _Collector:
    """Collects the outputs in the order of the images, and scores them."""

    def __init__(self, dataset: Dataset, category_ids: Sequence[int]) -> None:
        self._dataset = dataset
        self._category_ids = category_ids
        self._scorer = open_scorer(dataset.ground_truth)
        self._image_ids: list[int] = []
        self._results: list[Result] = []
        self._loss_sums: list[Float[np.ndarray, "B N"]] = []

    def add(self, outputs: _Outputs) -> None:
        results = to_coco(outputs.detections, outputs.detection_indices, self._dataset, self._category_ids)
        image_ids = [self._dataset.records[index].image_id for index in outputs.image_indices.tolist()]
        self._scorer.add(image_ids, results)
        self._results += results
        self._image_ids += image_ids
        if outputs.loss_sums is not None:
            self._loss_sums.append(outputs.loss_sums)

    def finish(self) -> Evaluation:
        losses = mean_losses(np.concatenate(self._loss_sums)) if self._loss_sums else None
        return _evaluation(self._scorer, self._dataset, self._image_ids, self._results, losses)


def evaluate_results(
    dataset: Dataset,
    results: Sequence[Result],
    *,
    fast: bool | None = None,
) -> Evaluation:
    """Score existing detections on all images of a dataset.

    Args:
        dataset: holds the ground truth, crowds included.
        results: COCO results in any order, possibly none. Neither they nor the ground truth are modified.
        fast: see `open_scorer`.

    Raises:
        DataError: see `check_results`.
    """
    check_results(results, dataset)
    index_of = {record.image_id: index for index, record in enumerate(dataset.records)}
    ordered = sorted(results, key=lambda result: (index_of[result["image_id"]], -result["score"]))
    scorer = open_scorer(dataset.ground_truth, fast=fast)
    scorer.add(list(index_of), ordered)
    return _evaluation(scorer, dataset, list(index_of), ordered, losses=None)


def _evaluation(
    scorer: Scorer, dataset: Dataset, image_ids: list[int], results: list[Result], losses: dict[str, float] | None
) -> Evaluation:
    accumulated = scorer.finish()
    metrics = metrics_of(accumulated, dataset, num_images=len(image_ids), num_detections=len(results))
    return Evaluation(metrics, accumulated, image_ids, results, losses)
