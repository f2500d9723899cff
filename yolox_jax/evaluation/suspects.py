"""Finds annotations that a detector contradicts: objects without one, wrong classes, misplaced and spurious boxes."""

import dataclasses
import enum
import math
from collections.abc import Collection, Iterator

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import mask

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.errors import sort_errors
from yolox_jax.evaluation.matching import Objects, by_image, match_greedily, to_objects
from yolox_jax.evaluation.operating_points import best_operating_points
from yolox_jax.evaluation.results import ScoredBoxes

SAME_OBJECT_IOU = 0.5
"""Lowest IoU at which a detection and an annotation are taken to mean the same object."""

NEAR_IOU = 0.2
"""Lowest IoU at which a detection may mean the object of a misplaced annotation, and not a neighbour of it."""

WELL_PLACED_IOU = 0.7
"""IoU from which a box is not questioned."""

LARGEST_SUPPORT = 0.1
"""An annotation with as much support is not called spurious."""

LEAST_SCORE = 0.1
"""Suspects with a lower score are not worth a look."""

LOWEST_DETECTION_SCORE = 0.01
"""Detections from this score on give an annotation support."""

HIGHEST_USUAL_THRESHOLD = 0.5
"""Upper limit of the default threshold: faults count as false positives, and many would raise the score of best F1."""


class SuspectKind(enum.StrEnum):
    """What is wrong, if the detector is right."""

    MISSING = "missing"
    """An object has no annotation."""
    WRONG_CLASS = "wrong-class"
    """An annotation has the class of another object."""
    MISPLACED = "misplaced"
    """The box of an annotation is not around its object."""
    SPURIOUS = "spurious"
    """There is no object at an annotation, or another annotation has it already."""


@dataclasses.dataclass(frozen=True)
class Suspect:
    """One contradiction between a detector and the annotations."""

    kind: SuspectKind
    score: float
    """How suspicious it is, between 0 and 1; see `find_suspects`."""
    image_id: int
    annotation: int | None
    """Index in `ground_truth["annotations"]`; None if the annotation is missing."""
    detection: int | None
    """Index of the detection that contradicts; None if the annotation is spurious."""
    iou: float | None
    """Of the two; None without both."""


def usual_threshold(dataset: Dataset, found: ScoredBoxes, *, image_ids: Collection[int]) -> float:
    """The score with the best F1 on these annotations, at most 0.5, which is also used if no detection is correct."""
    errors = sort_errors(dataset, found, image_ids=image_ids)
    point, _ = best_operating_points(dataset, found, errors, image_ids=image_ids)
    return HIGHEST_USUAL_THRESHOLD if math.isnan(point.threshold) else min(point.threshold, HIGHEST_USUAL_THRESHOLD)


def find_suspects(
    dataset: Dataset, found: ScoredBoxes, *, image_ids: Collection[int], score_threshold: float
) -> list[Suspect]:
    """Find what a detector contradicts with confidence, the most suspicious first.

    Detections whose score s reaches the threshold are confident. In each image they take annotations, best first and
    one each, by the first of these rules that fits:

    1. of their class, with an IoU of at least 0.5: the detector agrees; misplaced if the IoU is below 0.7;
    2. of another class, with an IoU of at least 0.5: wrong class;
    3. of their class, with an IoU of at least 0.2: misplaced;
    4. none, with an IoU below 0.5 with all: missing.

    An annotation that is left has as its support the largest s * min(1, IoU / 0.5) of the detections that took none,
    confident or not, of any class. It is spurious if this is below 0.1. Crowds and ignored annotations are never
    suspects, nor is a detection on one.

    The score of a suspect is the confidence of the detector times how far it contradicts:

    - missing: s * (1 - largest IoU / 0.5);
    - wrong class: s * (1 - s of the best detection left that fits rule 1 apart from its score);
    - misplaced: s * (1 - IoU / 0.7);
    - spurious: (1 - support / 0.1) * the share of the annotations of its class that the detector agrees with, because
      one that finds few of them says little about the others.

    Suspects with a score below 0.1 are left out.

    `image_diagnostics` of hotcoco finds the first two, with an IoU below 0.1 and from 0.5, in the order of s. All four
    come from one matching here, and their scores can be compared.

    Args:
        dataset: the annotations.
        found: the detections, those below the threshold too.
        image_ids: the images that the detector saw.
        score_threshold: lowest score of a confident detection.
    """
    annotations = dataset.ground_truth["annotations"]
    objects = to_objects(annotations)
    ignored = objects.crowd | np.array(["ignore" in entry for entry in annotations], bool)
    objects = objects._replace(crowd=ignored)
    agreed = np.zeros(len(annotations), bool)
    suspects: list[Suspect] = []
    images = np.unique(np.array(list(image_ids), np.int64))
    for image_id, rows, columns in zip(
        images.tolist(),
        by_image(found.image_ids, np.argsort(-found.scores, kind="stable"), images),
        by_image(objects.image_ids, np.arange(len(annotations)), images),
        strict=True,
    ):
        scene = _scene(found, objects, rows, columns)
        taken = _take(scene, score_threshold)
        agreed[columns[taken.agreed[taken.agreed >= 0]]] = True
        for kind, row, column, score in _contradictions(scene, taken, score_threshold):
            annotation = None if column is None else int(columns[column])
            detection = None if row is None else int(rows[row])
            iou = None if row is None or column is None else float(scene.iou[row, column])
            suspects.append(Suspect(kind, score, image_id, annotation, detection, iou))
    counted = np.isin(objects.image_ids, images) & ~objects.crowd
    share_of = {
        category: float(agreed[counted & (objects.category_ids == category)].mean())
        for category in np.unique(objects.category_ids[counted]).tolist()
    }
    weighed = (_weighed(suspect, objects, share_of) for suspect in suspects)
    return sorted((suspect for suspect in weighed if suspect.score >= LEAST_SCORE), key=lambda suspect: -suspect.score)


@dataclasses.dataclass(frozen=True)
class _Scene:
    """The detections of an image, best first, and its annotations."""

    scores: Float64[np.ndarray, " D"]
    iou: Float64[np.ndarray, "D G"]
    """Of each detection with each annotation; 0 for what is ignored."""
    same_class: Bool[np.ndarray, "D G"]
    on_ignored: Bool[np.ndarray, " D"]
    """Whether a detection lies on a crowd or an ignored annotation."""
    real: Bool[np.ndarray, " G"]
    """Whether an annotation is neither of these, and has an area."""

    @property
    def own(self) -> Float64[np.ndarray, "D G"]:
        """IoU with annotations of the class of the detection; 0 for others."""
        return np.where(self.same_class, self.iou, 0.0)


@dataclasses.dataclass(frozen=True)
class _Taken:
    """The annotation that each detection takes by each rule; -1 if none."""

    agreed: Int64[np.ndarray, " D"]
    relabelled: Int64[np.ndarray, " D"]
    moved: Int64[np.ndarray, " D"]

    def detections(self) -> Bool[np.ndarray, " D"]:
        return (self.agreed >= 0) | (self.relabelled >= 0) | (self.moved >= 0)

    def annotations(self, count: int) -> Bool[np.ndarray, " G"]:
        return np.isin(np.arange(count), np.concatenate([self.agreed, self.relabelled, self.moved]))


def _scene(
    found: ScoredBoxes, objects: Objects, rows: Int64[np.ndarray, " D"], columns: Int64[np.ndarray, " G"]
) -> _Scene:
    boxes, ignored = objects.boxes_xywh[columns], objects.crowd[columns]
    shape = len(rows), len(columns)
    iou = np.zeros(shape)
    if rows.size and columns.size:
        iou = mask.iou(found.boxes_xywh[rows], boxes, ignored)  # of what is ignored, the share of the detection on it
    return _Scene(
        scores=found.scores[rows],
        iou=np.where(ignored, 0.0, iou),
        same_class=found.category_ids[rows][:, None] == objects.category_ids[columns],
        on_ignored=((iou >= SAME_OBJECT_IOU) & ignored).any(axis=1),
        real=~ignored & (boxes[:, 2:] > 0).all(axis=1),
    )


def _take(scene: _Scene, score_threshold: float) -> _Taken:
    """Apply rules 1 to 3 in turn, each to what the earlier ones left."""
    free = np.broadcast_to((scene.scores >= score_threshold)[:, None], scene.own.shape).copy()
    own, results = scene.own, []
    other = np.where(scene.same_class, 0.0, scene.iou)
    # A second detection of an object means none of the annotations beside it.
    duplicate = (own >= SAME_OBJECT_IOU).any(axis=1)
    for overlaps, threshold in ((own, SAME_OBJECT_IOU), (other, SAME_OBJECT_IOU), (own, NEAR_IOU)):
        taken = match_greedily(np.where(free, overlaps, 0.0), threshold)
        free[taken >= 0] = False
        free[:, taken[taken >= 0]] = False
        free[duplicate] = False
        results.append(taken)
    return _Taken(*results)


def _contradictions(
    scene: _Scene, taken: _Taken, score_threshold: float
) -> Iterator[tuple[SuspectKind, int | None, int | None, float]]:
    """Kind, detection, annotation and score of each suspect; the score of a spurious one is still to be weighed."""
    left, own = ~taken.detections(), scene.own
    for row, column in _pairs(taken.relabelled):
        doubt = scene.scores[left & (own[:, column] >= SAME_OBJECT_IOU)].max(initial=0.0)
        yield SuspectKind.WRONG_CLASS, row, column, float(scene.scores[row] * (1 - doubt))
    for row, column in (*_pairs(taken.agreed), *_pairs(taken.moved)):
        iou = scene.iou[row, column]
        if iou < WELL_PLACED_IOU:
            yield SuspectKind.MISPLACED, row, column, float(scene.scores[row] * (1 - iou / WELL_PLACED_IOU))
    largest = scene.iou.max(axis=1, initial=0.0)
    unseen = left & (scene.scores >= score_threshold) & (largest < SAME_OBJECT_IOU) & ~scene.on_ignored
    for row in np.flatnonzero(unseen).tolist():
        yield SuspectKind.MISSING, row, None, float(scene.scores[row] * (1 - largest[row] / SAME_OBJECT_IOU))
    overlaps = np.minimum(scene.iou[left] / SAME_OBJECT_IOU, 1.0)
    support = (scene.scores[left][:, None] * overlaps).max(axis=0, initial=0.0)
    alone = scene.real & ~taken.annotations(len(scene.real)) & (support < LARGEST_SUPPORT)
    for column in np.flatnonzero(alone).tolist():
        yield SuspectKind.SPURIOUS, None, column, float(1 - support[column] / LARGEST_SUPPORT)


def _pairs(taken: Int64[np.ndarray, " D"]) -> list[tuple[int, int]]:
    rows = np.flatnonzero(taken >= 0)
    return list(zip(rows.tolist(), taken[rows].tolist(), strict=True))


def _weighed(suspect: Suspect, objects: Objects, share_of: dict[int, float]) -> Suspect:
    if suspect.kind is not SuspectKind.SPURIOUS:
        return suspect
    share = share_of[int(objects.category_ids[suspect.annotation])]
    return dataclasses.replace(suspect, score=suspect.score * share)
