"""Evaluation in tiles: detects in the tiles of a dataset's images, and tells which objects the tiles cut."""

import contextlib
import math
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
from jaxtyping import UInt

from yolox_jax.config import EvaluationConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import evaluation_image
from yolox_jax.data.pipeline import report_broken
from yolox_jax.data.process_settings import LOADING_SETTINGS
from yolox_jax.evaluation.detection_call import detection_call
from yolox_jax.evaluation.validation_loss import ValidationLoss
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.tiled_detection import FoundInImage, MergeSettings, detect_in_tiles
from yolox_jax.inference.tiles import Tiling
from yolox_jax.text import shortened

MOST_CLASSES = 5
"""Maximum number of classes in the warning."""

MOST_OVERLAP = 0.5
"""Largest overlap that the warning proposes: with it, there are about four times as many tiles as without any."""


def detect_dataset_in_tiles(
    detector: Detector,
    dataset: Dataset,
    config: EvaluationConfig,
    *,
    indices: Sequence[int],
    broken_images: Literal["skip", "stop"],
    num_threads: int,
    loss: ValidationLoss | None,
) -> Generator[FoundInImage, None, None]:
    """Detect in the tiles of images of a dataset, with the thresholds and batch size of `config`.

    Args:
        detector: has a tiling.
        dataset: the images.
        config: thresholds, and the number of tiles per batch.
        indices: positions in `dataset.records` of the images.
        broken_images: `skip` logs the path of a broken image and leaves it out; `stop` raises.
        num_threads: threads that load images.
        loss: also compute the losses of the whole images.

    Yields:
        For each image that can be read, in order, its position in `dataset.records`, its detections, and the losses.
    """
    assert detector.tiling is not None
    images = _load_images(dataset, indices, broken_images, num_threads)
    with contextlib.closing(images):
        yield from detect_in_tiles(
            images,
            detector.tiling,
            detection_call(detector, config, loss),
            input_size=detector.image_size,
            batch_size=detector.network.fitting_batch_size(config.batch_size),
            merge=MergeSettings(config.iou_threshold, detector.class_agnostic, config.max_detections),
            fit=evaluation_image,
        )


def _load_images(
    dataset: Dataset, indices: Sequence[int], broken_images: Literal["skip", "stop"], num_threads: int
) -> Generator[tuple[int, UInt[np.ndarray, "_ _ _"]], None, None]:
    """Load images at their full size, in order, each thread one ahead."""
    reported: dict[str, str] = {}
    with LOADING_SETTINGS, ThreadPoolExecutor(num_threads) as pool:
        loading: deque[tuple[int, Future[np.ndarray]]] = deque()
        to_load = iter(indices)
        while True:
            while len(loading) < num_threads and (index := next(to_load, None)) is not None:
                loading.append((index, pool.submit(load_image, dataset.records[index])))
            if not loading:
                return
            index, future = loading.popleft()
            try:
                image = future.result()
            except BrokenImage as error:
                report_broken(error, broken_images, reported)
            else:
                yield index, image


def cut_objects(dataset: Dataset, tiling: Tiling) -> str | None:
    """Return a warning that names the classes whose median object can be cut by every tile; None if there is none.

    An object is whole in a tile wherever it is if it is no larger than the overlap. Only images that are larger than a
    tile count, and only along their sides that are.
    """
    needs = {}
    for name, (share, side_px) in _median_shares(dataset, tiling).items():
        if share > tiling.overlap:
            needs[name] = share, side_px
    if not needs:
        return None
    ordered = sorted(needs.items(), key=lambda item: -item[1][0])
    classes = [f"{name} (median {side_px:.0f} px; {_way_out(share)})" for name, (share, side_px) in ordered]
    longest = max(tiling.height, tiling.width)
    return (
        f"tiles of {longest} px that overlap by {tiling.overlap:g} can cut objects larger than the overlap, "
        f"{tiling.overlap * longest:.0f} px, wherever they lie. That concerns most objects of "
        f"{shortened(classes, MOST_CLASSES)}. Objects that no tile holds are found in the whole image alone, at its "
        "scale."
    )


def _way_out(share: float) -> str:
    """How to have an object of this share of a tile whole in one."""
    overlap = math.ceil(share * 100) / 100
    return f"--overlap {overlap} would do" if overlap <= MOST_OVERLAP else "needs a larger --tile"


def _median_shares(dataset: Dataset, tiling: Tiling) -> dict[str, tuple[float, float]]:
    """The median side of the objects of each class, as a share of a tile and in px; the larger of width and height."""
    shares: dict[str, tuple[float, float]] = {}
    for axis, tile in enumerate((tiling.width, tiling.height)):
        cut = [record for record in dataset.records if (record.width, record.height)[axis] > tile]
        if not cut:
            continue
        sides = np.concatenate([record.boxes[:, axis + 2] - record.boxes[:, axis] for record in cut])
        labels = np.concatenate([record.classes for record in cut])
        for label in np.unique(labels).tolist():
            side_px, name = float(np.median(sides[labels == label])), dataset.class_names[label]
            shares[name] = max(shares.get(name, (0.0, 0.0)), (side_px / tile, side_px))
    return shares
