"""Proves that an exported file detects what the trained network detects, on the images of the user."""

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt
from pycocotools import mask

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.letterbox import letterbox
from yolox_jax.evaluation.classes import match_classes
from yolox_jax.evaluation.results import Result
from yolox_jax.evaluation.runner import evaluate_results
from yolox_jax.export.yolox_detection import ExportedDetector
from yolox_jax.inference.detector import Detector

SAME_OBJECT_IOU = 0.5
"""IoU from which two detections of a class are taken to be of the same object."""


class Tolerance(NamedTuple):
    """How far the detections of a file may be from those of its weights."""

    box_px: float
    """Between edges of boxes, in px of the network input."""
    score: float
    changed: float
    """Share of detections that may be lost, gained, or differ by more. Rounding can decide which of two boxes
    suppresses the other, so that a few change altogether."""


TOLERANCES = {
    "float32": Tolerance(box_px=0.5, score=1e-3, changed=0.001),
    "float16": Tolerance(box_px=4.0, score=0.03, changed=0.05),
    "bfloat16": Tolerance(box_px=16.0, score=0.1, changed=0.1),
    "int8": Tolerance(box_px=16.0, score=0.1, changed=0.15),
}
"""By the precision that the file computes in."""


class Found(NamedTuple):
    """Detections in one image, best first."""

    boxes: Float[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px of the image."""
    scores: Float[np.ndarray, " N"]
    classes: Int[np.ndarray, " N"]


class Differences(NamedTuple):
    """How the detections of a file in one image differ from those of its weights."""

    box_px: float
    """Largest difference between edges of matched boxes, in px of the network input."""
    score: float
    """Largest difference between the scores of matched detections."""
    moved: int
    """Matched detections that differ by more than the tolerance."""
    lost: int
    gained: int

    @property
    def changed(self) -> int:
        """Detections that are not the same."""
        return self.moved + self.lost + self.gained


@dataclasses.dataclass(frozen=True)
class Verification:
    """The outcome of a comparison."""

    tolerance: Tolerance
    differences: dict[str, Differences]
    """Of each image, by name."""
    num_detections: int
    """Of the weights, in all images."""
    aps: tuple[float, float] | None
    """AP of the weights and of the file at their thresholds; None without annotations."""
    milliseconds: tuple[float, float]
    """Median time of an image in the weights and in the file, on this machine, one image at a time."""

    @property
    def totals(self) -> Differences:
        """Largest differences, and counts over all images."""
        columns = np.array(list(self.differences.values()))
        box_px, score = columns[:, :2].max(axis=0).tolist()
        moved, lost, gained = columns[:, 2:].sum(axis=0).astype(int).tolist()
        return Differences(box_px, score, moved, lost, gained)

    @property
    def num_compared(self) -> int:
        """Detections of the weights, and those that only the file has."""
        return self.num_detections + self.totals.gained

    @property
    def changed(self) -> float:
        """Changed detections as a share of those compared."""
        return self.totals.changed / max(self.num_compared, 1)

    @property
    def agrees(self) -> bool:
        """Whether there are detections, and few enough of them changed."""
        return self.num_compared > 0 and self.changed <= self.tolerance.changed

    @property
    def worst_image(self) -> str:
        """Name of the image with the most changed detections."""
        return max(self.differences, key=lambda name: self.differences[name].changed)


class NamedImage(NamedTuple):
    """An image to compare on."""

    name: str
    pixels: UInt[np.ndarray, "H W C"]
    """BGR, or what else the network takes."""
    image_id: int | None = None
    """Its id in the dataset."""


def detector_like(file: ExportedDetector, weights: str | Path, path: Path) -> Detector:
    """The detector of the weights with the settings that are stored in a file.

    Raises:
        ConfigError: the file was exported from other weights: another variant or other classes.
        FileNotFoundError, WeightsError: the weights cannot be read.
    """
    stored = file.metadata
    class_names = json.loads(stored["class_names"])
    detector = Detector(
        weights=weights,
        input_size=tuple(json.loads(stored["input_size"])),
        score_threshold=json.loads(stored["score_threshold"]),
        iou_threshold=json.loads(stored["iou_threshold"]),
        class_agnostic=json.loads(stored["class_agnostic"]),
        max_detections=json.loads(stored["max_detections"]),
    )
    if detector.variant != stored["variant"]:
        raise ConfigError(f"{path} holds a {stored['variant']}, but {weights} are the weights of a {detector.variant}")
    if list(detector.class_names) != class_names:
        raise ConfigError(
            f"{path} has the classes {_listed(class_names)}, but {weights} have {_listed(detector.class_names)}"
        )
    return detector


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def verify_exported(
    file: ExportedDetector,
    detector: Detector,
    images: Iterable[NamedImage],
    *,
    dataset: Dataset | None = None,
    tolerance: Tolerance | None = None,
) -> Verification:
    """Compare the detections of an exported file with those of its weights.

    Args:
        file: from `open_exported`.
        detector: from `detector_like`.
        images: read one at a time.
        dataset: annotations of the images, for the AP of both.
        tolerance: by default that of the precision of the file.

    Raises:
        ConfigError: there are no images, or the dataset has classes that the weights do not have.
    """
    tolerance = tolerance or TOLERANCES[file.metadata["precision"]]
    category_ids = None
    if dataset is not None:
        category_ids = match_classes(detector.class_names, dataset, are_stored=True).category_ids
    differences: dict[str, Differences] = {}
    seconds: list[tuple[float, float]] = []
    results: tuple[list[Result], list[Result]] = ([], [])
    num_detections = 0
    for image in images:
        if not seconds:  # compiles, and loads what is loaded on first use, before the measurement
            _detect_both(detector, file, image.pixels)
        ours, theirs, times = _detect_both(detector, file, image.pixels)
        ratio = min(side / length for side, length in zip(detector.input_size, image.pixels.shape[:2], strict=True))
        differences[image.name] = compare(ours, theirs, detector.score_threshold, tolerance, ratio)
        seconds.append(times)
        num_detections += len(ours.scores)
        if category_ids is not None and image.image_id is not None:
            for found, ones in zip((ours, theirs), results, strict=True):
                ones += _results(found, image.image_id, category_ids)
    if not differences:
        raise ConfigError("there are no images to compare on")
    aps = None
    if dataset is not None:
        weights_ap, file_ap = (evaluate_results(dataset, ones).metrics.figures["AP"] for ones in results)
        aps = weights_ap, file_ap
    weights_ms, file_ms = (1000 * np.median(np.array(seconds), axis=0)).tolist()
    return Verification(tolerance, differences, num_detections, aps, (weights_ms, file_ms))


def compare(ours: Found, theirs: Found, threshold: float, tolerance: Tolerance, ratio: float = 1.0) -> Differences:
    """Match detections of an image to those of another network, and return how they differ.

    Each detection, best first, takes the free one of its class that it overlaps most, by at least `SAME_OBJECT_IOU`.

    Args:
        ours: detections of the weights.
        theirs: detections of the file.
        threshold: lowest score of a detection. Those within the tolerance of it are neither lost nor gained, because
            rounding moves them across it.
        tolerance: differences that do not count.
        ratio: px of the network input per px of the image.
    """
    overlaps = np.zeros((len(ours.scores), len(theirs.scores)))
    if overlaps.size:
        overlaps = mask.iou(_xywh(ours.boxes), _xywh(theirs.boxes), [False] * len(theirs.scores))
        overlaps[ours.classes[:, None] != theirs.classes] = 0
    partner = np.full(len(ours.scores), -1)
    for index in range(len(partner) if overlaps.size else 0):
        best = int(np.argmax(overlaps[index]))
        if overlaps[index, best] >= SAME_OBJECT_IOU:
            partner[index] = best
            overlaps[:, best] = 0
    matched, partners = partner >= 0, partner[partner >= 0]
    free = np.ones(len(theirs.scores), bool)
    free[partners] = False
    edges = np.abs(ours.boxes[matched] - theirs.boxes[partners]).max(axis=1, initial=0) * ratio
    scores = np.abs(ours.scores[matched] - theirs.scores[partners])
    lowest = threshold + tolerance.score
    return Differences(
        box_px=float(edges.max(initial=0)),
        score=float(scores.max(initial=0)),
        moved=int((~((edges <= tolerance.box_px) & (scores <= tolerance.score))).sum()),  # also a score that is NaN
        lost=int((ours.scores[~matched] >= lowest).sum()),
        gained=int((~(theirs.scores[free] < lowest)).sum()),
    )


def _detect_both(
    detector: Detector, file: ExportedDetector, pixels: UInt[np.ndarray, "H W C"]
) -> tuple[Found, Found, tuple[float, float]]:
    """The detections of the weights and of the file, and the seconds that each took."""
    start = time.perf_counter()
    image, ratio = letterbox(pixels, detector.input_size)
    found = detector.detect_batch(image[None], np.array([ratio], np.float32))
    valid = np.asarray(found.valid)[0]
    ours = Found(*(np.asarray(array)[0][valid] for array in (found.boxes, found.scores, found.classes)))
    between = time.perf_counter()
    theirs = Found(*file(pixels))
    return ours, theirs, (between - start, time.perf_counter() - between)


def _xywh(boxes_xyxy: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1).astype(np.float64)


def _results(found: Found, image_id: int, category_ids: Sequence[int]) -> list[Result]:
    return [
        {"image_id": image_id, "category_id": category_ids[index], "bbox": box, "score": score}
        for box, score, index in zip(
            _xywh(found.boxes).tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
        )
    ]
