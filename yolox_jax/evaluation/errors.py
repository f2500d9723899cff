"""Sorts detection errors into the six types of TIDE, and computes the AP50 that each type costs.

The types and their corrections are those of Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection
Errors" (ECCV 2020, arXiv 2008.08115), section 2; matching and AP are those of pycocotools.
"""

import dataclasses
import enum
from collections.abc import Collection

import numpy as np
from jaxtyping import Bool, Int64

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.matching import Matches, Objects, average_precision, best_first, match_all, to_objects
from yolox_jax.evaluation.results import ScoredBoxes

FOREGROUND_IOU = 0.5
"""Lowest IoU at which a detection matches an object."""

BACKGROUND_IOU = 0.1
"""Lowest IoU at which a detection counts as close to an object rather than as background."""


class ErrorKind(enum.StrEnum):
    """Type of error."""

    CLASSIFICATION = "classification"
    """Matches an object of another class."""
    LOCALISATION = "localisation"
    """Close to an object of its class, but does not match it."""
    BOTH = "both"
    """Close to an object of another class, but does not match it."""
    DUPLICATE = "duplicate"
    """Matches an object of its class that a detection with a higher score has matched."""
    BACKGROUND = "background"
    """Not close to any object."""
    MISSED = "missed"
    """An object that no detection matches, and no error of the first two types refers to."""


DETECTION_ERRORS = tuple(kind for kind in ErrorKind if kind is not ErrorKind.MISSED)

RELABELLED = (ErrorKind.CLASSIFICATION, ErrorKind.LOCALISATION)
"""Types that are corrected by giving the detection the box and class of the object it refers to."""

_CODES = {kind: code for code, kind in enumerate(ErrorKind)}
"""Types as numbers, for arrays."""
_NO_ERROR = -1
_KIND_OF_CODE = (*ErrorKind, None)
"""Index -1, `_NO_ERROR`, is None."""


@dataclasses.dataclass(frozen=True)
class Errors:
    """The errors of one evaluation; AP and costs are fractions."""

    kinds: tuple[ErrorKind | None, ...]
    """The error type of each result. None if it is correct (`object_of` is then not -1) or not counted: it matches a
    crowd, is beyond the 100 best of its class in its image, exceeds COCO's largest area, or belongs to an image that
    was left out."""
    object_of: Int64[np.ndarray, " N"]
    """Index in `ground_truth["annotations"]` of the object that a result matches, duplicates, or overlaps most among
    those that its error type refers to; -1 for background errors and for results that are not counted."""
    missed: Int64[np.ndarray, " M"]
    """Indices of the missed objects in `ground_truth["annotations"]`, ascending."""
    ap50: float
    """AP at the foreground IoU with all errors; NaN if no object counts."""
    costs: dict[ErrorKind, float]
    """Gain in `ap50` from correcting the errors of one type alone; NaN if no object counts, before or after."""
    cost_false_positives: float
    """Gain in `ap50` from removing every false positive."""
    cost_false_negatives: float
    """Gain in `ap50` from ignoring every object without a match; NaN if no other object is left."""

    def counts(self) -> dict[ErrorKind, int]:
        """Count the errors of each type."""
        of_results = {kind: self.kinds.count(kind) for kind in ErrorKind}
        return {**of_results, ErrorKind.MISSED: len(self.missed)}


def sort_errors(
    dataset: Dataset,
    found: ScoredBoxes,
    *,
    image_ids: Collection[int] | None = None,
) -> Errors:
    """Sort the errors of an evaluation by type, and compute what each type costs (TIDE, section 2).

    Detections are matched as in pycocotools at the foreground IoU: within image and class, best first, the 100 best.
    The type of a false positive depends on its largest IoU with objects of its own class (own) and of all other classes
    (other), excluding crowds. It is the first one below that fits. TIDE's paper does not specify the order; this is the
    order of its tool:

    1. localisation: background <= own < foreground;
    2. classification: other >= foreground;
    3. duplicate: own >= foreground;
    4. background: both < background;
    5. both: background <= other < foreground, the rest.

    Correcting (section 2.3) gives a misplaced or misclassified detection the box and class of its object. If an object
    then has several detections, including its previous match, the best one stays and the others are removed.
    Detections of the three other types are removed, and missed objects are ignored. A class that loses all its objects
    this way is left out of the mean, as pycocotools leaves out a class without objects. If nothing was detected at all,
    the cost of the missed objects is NaN.

    On real annotations without crowds, the tool, tidecv 1.0.1, sorted all errors the same, and gave the same cost for
    every type that is removed. Its costs of the first two types and of missed objects were lower: a class that loses
    all its objects stays in its mean, with an AP of 0.

    Args:
        dataset: holds the ground truth, crowds included.
        found: the detections, possibly none. Their ids and numbers are not checked.
        image_ids: images to analyse; by default all of the dataset.
    """
    chosen = [record.image_id for record in dataset.records] if image_ids is None else list(image_ids)
    images = np.unique(np.array(chosen, np.int64))
    objects = to_objects(dataset.ground_truth["annotations"])
    order = best_first(found, images)
    matches = match_all(found, objects, order, images, FOREGROUND_IOU)
    codes, object_of = _sort(matches)

    countable = np.isin(objects.image_ids, images) & ~objects.crowd
    unmatched = countable & ~_among(matches.matched, objects)
    referred_to = _among(object_of[np.isin(codes, [_CODES[kind] for kind in RELABELLED])], objects)
    missed = unmatched & ~referred_to

    ranking = _rank(found, objects, order[matches.counted[order]], codes, object_of, countable)
    base = ranking.average_precision()
    corrected: dict[ErrorKind, float] = {
        kind: ranking.relabelled(kind) if kind in RELABELLED else ranking.removed([kind]) for kind in DETECTION_ERRORS
    }
    corrected[ErrorKind.MISSED] = ranking.without_objects(missed)
    return Errors(
        kinds=tuple(_KIND_OF_CODE[code] for code in codes.tolist()),
        object_of=object_of,
        missed=np.flatnonzero(missed),
        ap50=base,
        costs={kind: value - base for kind, value in corrected.items()},
        cost_false_positives=ranking.removed(DETECTION_ERRORS) - base,
        cost_false_negatives=ranking.without_objects(unmatched) - base,
    )


def _sort(matches: Matches) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """For each result the code of the first error type that fits, and the object it refers to."""
    own, other, correct = matches.own_iou, matches.other_iou, matches.matched >= 0
    kinds = {
        ErrorKind.LOCALISATION: (own >= BACKGROUND_IOU) & (own < FOREGROUND_IOU),
        ErrorKind.CLASSIFICATION: other >= FOREGROUND_IOU,
        ErrorKind.DUPLICATE: own >= FOREGROUND_IOU,
        ErrorKind.BACKGROUND: np.maximum(own, other) < BACKGROUND_IOU,
    }
    conditions, choices = [correct | ~matches.counted, *kinds.values()], [_NO_ERROR, *(_CODES[kind] for kind in kinds)]
    codes = np.select(conditions, choices, _CODES[ErrorKind.BOTH]).astype(np.int64)
    of_own = np.isin(codes, [_CODES[ErrorKind.LOCALISATION], _CODES[ErrorKind.DUPLICATE]])
    of_other = np.isin(codes, [_CODES[ErrorKind.CLASSIFICATION], _CODES[ErrorKind.BOTH]])
    return codes, np.select([correct, of_own, of_other], [matches.matched, matches.own, matches.other], -1)


def _among(indices: Int64[np.ndarray, " _"], objects: Objects) -> Bool[np.ndarray, " G"]:
    """Which objects the indices include; -1 is no object."""
    return np.isin(np.arange(len(objects.image_ids)), indices)


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """The detections that count, best first, and the objects: computes AP with errors corrected."""

    classes: Int64[np.ndarray, " K"]
    codes: Int64[np.ndarray, " K"]
    objects: Int64[np.ndarray, " K"]
    object_classes: Int64[np.ndarray, " G"]
    countable: Bool[np.ndarray, " G"]
    num_classes: int

    def average_precision(self) -> float:
        return self.removed([])

    def removed(self, kinds: Collection[ErrorKind]) -> float:
        """AP without the detections that are errors of these types."""
        keep = ~np.isin(self.codes, [_CODES[kind] for kind in kinds])
        return average_precision(self.classes[keep], self.codes[keep] == _NO_ERROR, self._count(self.countable))

    def without_objects(self, which: Bool[np.ndarray, " G"]) -> float:
        """AP with some objects ignored."""
        return average_precision(self.classes, self.codes == _NO_ERROR, self._count(self.countable & ~which))

    def relabelled(self, kind: ErrorKind) -> float:
        """AP with errors of this type given the class and box of their object; the best one per object stays."""
        claims = np.flatnonzero((self.codes == _NO_ERROR) | (self.codes == _CODES[kind]))
        targets, best = np.unique(self.objects[claims], return_index=True)
        keep, classes = np.ones(len(self.codes), bool), self.classes.copy()
        correct = np.zeros(len(self.codes), bool)
        keep[claims] = False
        winners = claims[best]
        keep[winners] = correct[winners] = True
        classes[winners] = self.object_classes[targets]
        return average_precision(classes[keep], correct[keep], self._count(self.countable))

    def _count(self, which: Bool[np.ndarray, " G"]) -> Int64[np.ndarray, " C"]:
        return np.bincount(self.object_classes[which], minlength=self.num_classes)


def _rank(
    found: ScoredBoxes,
    objects: Objects,
    order: Int64[np.ndarray, " K"],
    codes: Int64[np.ndarray, " N"],
    object_of: Int64[np.ndarray, " N"],
    countable: Bool[np.ndarray, " G"],
) -> _Ranking:
    """Rank the results whose indices are in `order`."""
    categories, classes = np.unique(np.concatenate([objects.category_ids, found.category_ids]), return_inverse=True)
    object_classes, found_classes = np.split(classes, [len(objects.category_ids)])
    return _Ranking(
        found_classes[order], codes[order], object_of[order], object_classes, countable, num_classes=len(categories)
    )
