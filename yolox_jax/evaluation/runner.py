"""Runs a detector on a dataset and scores its detections."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from yolox_jax.config import EvaluationConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.pipeline import HostBatch, evaluation_batches
from yolox_jax.evaluation.classes import check_classes
from yolox_jax.evaluation.coco import CocoMetrics, metrics_of
from yolox_jax.evaluation.coco_scorers import Accumulated, accumulate
from yolox_jax.evaluation.detection_call import detection_call
from yolox_jax.evaluation.gather import gather_rows
from yolox_jax.evaluation.results import Result, ScoredBoxes, check_results, from_detections, from_results
from yolox_jax.evaluation.tiles import detect_dataset_in_tiles
from yolox_jax.evaluation.validation_loss import ValidationLoss, mean_losses
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.tiles import Tiling
from yolox_jax.structures import Detections


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation."""

    metrics: CocoMetrics
    accumulated: Accumulated = dataclasses.field(repr=False)
    """The precision-recall curves that the metrics average."""
    image_ids: list[int] = dataclasses.field(repr=False)
    """The images that were evaluated: all that could be read."""
    found: ScoredBoxes = dataclasses.field(repr=False)
    """Every detection, in the order of the images, best first within each."""
    losses: dict[str, float] | None
    """From `mean_losses`; None if they were not computed."""
    tiling: Tiling | None = None
    """How images were cut into tiles; None if they were not."""

    @functools.cached_property
    def results(self) -> list[Result]:
        """Every detection as a COCO result: image_id, category_id, bbox (x, y, width, height in px), score.

        In the order of `found`.
        """
        return self.found.to_results()


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

    The next images are loaded while the device detects. With several processes, each must call this with its own
    detector, with the same weights. Each processes its share of the images, and all return the result of a single
    process.

    Args:
        detector: provides the network, its input size, the class order and, to detect in tiles, its tiling; the
            thresholds are those of `config`.
        dataset: images and ground truth, with the classes of the detector in the same order unless `category_ids` are
            given.
        config: thresholds and batch size in images or tiles, which is rounded up to a multiple of the number of
            devices.
        broken_images: whether an unreadable image is left out of the metrics or stops the evaluation.
        num_threads: threads that load images.
        loss: also compute the losses, in the same pass of the network.
        category_ids: category in the dataset of each class of the detector (see `match_classes`).
        on_progress: called after each batch, or each image that is detected in tiles, with the number of images done
            and the total, both of this process.

    Raises:
        ConfigError: the detector and the dataset differ in their classes, and no `category_ids` are given.
        yolox_jax.data.image.BrokenImage: an image cannot be read, and `broken_images` is "stop".
    """
    if category_ids is None:
        check_classes(detector.class_names, dataset)
    share = range(jax.process_index(), len(dataset.records), jax.process_count())
    parts = [_NO_OUTPUTS]
    if detector.tiling is None:
        detected = _detect_whole(detector, dataset, config, share, broken_images, num_threads, loss)
    else:
        detected = _detect_tiled(detector, dataset, config, share, broken_images, num_threads, loss)
    with contextlib.closing(detected):
        for num_done, outputs in detected:
            parts.append(outputs)
            if on_progress is not None:
                on_progress(num_done, len(share))
    gathered = _gather(parts, loss)
    found = from_detections(gathered.detections, gathered.detection_indices, dataset, category_ids)
    image_ids = [dataset.records[index].image_id for index in gathered.image_indices.tolist()]
    sums = gathered.loss_sums
    losses = mean_losses(sums) if sums is not None and len(sums) else None
    return _evaluation(dataset, image_ids, found, losses, tiling=detector.tiling)


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


def _detect_whole(
    detector: Detector,
    dataset: Dataset,
    config: EvaluationConfig,
    share: range,
    broken_images: Literal["skip", "stop"],
    num_threads: int,
    loss: ValidationLoss | None,
) -> Generator[tuple[int, _Outputs], None, None]:
    """Detect in the whole images; yield the number of images done so far with the outputs of each batch."""
    batch_size, num_done = detector.network.fitting_batch_size(config.batch_size), 0
    batches = evaluation_batches(
        dataset,
        detector.image_size,
        batch_size,
        indices=share,
        broken_images=broken_images,
        num_threads=num_threads,
    )
    with contextlib.closing(batches):
        for outputs in _detect_batches(detector, batches, config, loss):
            num_done = min(num_done + batch_size, len(share))
            yield num_done, outputs


def _detect_tiled(
    detector: Detector,
    dataset: Dataset,
    config: EvaluationConfig,
    share: range,
    broken_images: Literal["skip", "stop"],
    num_threads: int,
    loss: ValidationLoss | None,
) -> Generator[tuple[int, _Outputs], None, None]:
    """Detect in the tiles of the images and in the whole; yield as `_detect_whole`, for each image."""
    found_in_images = detect_dataset_in_tiles(
        detector,
        dataset,
        config,
        indices=share,
        broken_images=broken_images,
        num_threads=num_threads,
        loss=loss,
    )
    with contextlib.closing(found_in_images):
        for found in found_in_images:
            count = len(found.scores)
            outputs = _Outputs(
                Detections._make(
                    array[:, None] for array in (found.boxes, found.scores, found.classes, np.ones(count, bool))
                ),
                np.full(count, found.number, np.int32),
                np.array([found.number], np.int32),
                None if loss is None else found.of_whole[None],
            )
            yield share.index(found.number) + 1, outputs


def _detect_batches(
    detector: Detector, batches: Iterable[HostBatch], config: EvaluationConfig, loss: ValidationLoss | None
) -> Iterator[_Outputs]:
    detect = detection_call(detector, config, loss)
    pending: tuple[Detections, Array | None, np.ndarray] | None = None
    for batch in batches:
        detections, loss_sums = detect(batch["images"], batch["ratios"], batch["indices"])
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
        fast: see `accumulate`.

    Raises:
        DataError: see `check_results`.
    """
    found = from_results(results)
    check_results(found, dataset)
    image_ids = [record.image_id for record in dataset.records]
    by_id = np.argsort(np.array(image_ids, np.int64))
    position = by_id[np.searchsorted(image_ids, found.image_ids, sorter=by_id)]
    order = np.lexsort((-found.scores, position))
    return _evaluation(dataset, image_ids, ScoredBoxes(*(array[order] for array in found)), losses=None, fast=fast)


def _evaluation(
    dataset: Dataset,
    image_ids: list[int],
    found: ScoredBoxes,
    losses: dict[str, float] | None,
    *,
    fast: bool | None = None,
    tiling: Tiling | None = None,
) -> Evaluation:
    accumulated = accumulate(dataset.ground_truth, image_ids, found, fast=fast)
    metrics = metrics_of(accumulated, dataset, num_images=len(image_ids), num_detections=len(found.scores))
    return Evaluation(metrics, accumulated, image_ids, found, losses, tiling)
