"""What detections get wrong, sorted into the six kinds of TIDE, and the AP50 that each kind costs.

The kinds and the remedies are those of Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors"
(ECCV 2020, arXiv 2008.08115), section 2; matching and AP are pycocotools'.
"""

import dataclasses
import enum
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.matching import Boxes, Matches, average_precision, best_first, gather, match_all

FOREGROUND_IOU = 0.5
"""From this IoU on, a detection is on an object."""

BACKGROUND_IOU = 0.1
"""From this IoU on, a detection is near an object."""


class ErrorKind(enum.StrEnum):
    """How a detection, or the lack of one, is wrong."""

    CLASSIFICATION = "classification"
    """On an object of another class."""
    LOCALISATION = "localisation"
    """Near an object of its class, but not on it."""
    BOTH = "both"
    """Near an object of another class."""
    DUPLICATE = "duplicate"
    """On an object of its class that a better detection has matched."""
    BACKGROUND = "background"
    """Near no object."""
    MISSED = "missed"
    """An object that no detection matches, and that no error of the first two kinds was meant for."""


OF_DETECTIONS = tuple(kind for kind in ErrorKind if kind is not ErrorKind.MISSED)

MOVED = (ErrorKind.CLASSIFICATION, ErrorKind.LOCALISATION)
"""Kinds that tell which object the detection was meant for, and are mended by moving it there."""

_CODES = {kind: code for code, kind in enumerate(ErrorKind)}
"""Kinds as numbers, for arrays."""
_NO_ERROR = -1
_KIND_OF_CODE = (*ErrorKind, None)
"""With None at the place of `_NO_ERROR`."""


@dataclasses.dataclass(frozen=True)
class Errors:
    """The errors of one evaluation; AP and costs are fractions."""

    kinds: tuple[ErrorKind | None, ...]
    """Of each result; None if it is correct (`object_of` is not -1 then), or not counted: matched to a crowd, beyond
    the 100 best of its class in its image, of an area beyond COCO's largest, or of an image that was left out."""
    object_of: Int64[np.ndarray, " N"]
    """Index in `ground_truth["annotations"]` of the object that a result matches, duplicates, or comes nearest to among
    those that its kind speaks of; -1 for the background and for results that are not counted."""
    missed: Int64[np.ndarray, " M"]
    """Indices of the missed objects in `ground_truth["annotations"]`, ascending."""
    ap50: float
    """AP at the foreground IoU with no error mended; NaN where no object counts."""
    costs: dict[ErrorKind, float]
    """What `ap50` would gain were errors of this kind alone mended. NaN where no object counts, or none would after."""
    cost_false_positives: float
    """The gain were every false positive removed."""
    cost_false_negatives: float
    """The gain were every object without a match taken out of the count; NaN where no other would be left."""

    def counts(self) -> dict[ErrorKind, int]:
        """The number of errors of each kind."""
        of_results = {kind: self.kinds.count(kind) for kind in ErrorKind}
        return {**of_results, ErrorKind.MISSED: len(self.missed)}


def sort_errors(
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    *,
    image_ids: Collection[int] | None = None,
) -> Errors:
    """Sort the errors of an evaluation by kind, and find what each kind costs (TIDE, section 2).

    Detections are matched as pycocotools does at the foreground IoU: within image and class, best first, the 100 best.
    A false positive is of the first kind that fits, by its largest IoU with the objects, crowds aside, of its own class
    and of all others. TIDE's paper leaves open which kind goes first; this is the order of its tool:

    1. localisation: background <= own < foreground;
    2. classification: other >= foreground;
    3. duplicate: own >= foreground;
    4. background: both < background;
    5. both: background <= other < foreground, which is what remains.

    Mending (section 2.3) gives a misplaced or misclassified detection the box and class of its object. Of several
    detections that an object then has, its match so far among them, the best one stays and the others are removed.
    Detections of the three other kinds are removed, and missed objects are taken out of the count. A class that loses
    all of its objects so leaves the mean, as pycocotools leaves out a class without objects: where nothing was found
    at all, the cost of the missed objects is NaN.

    The tool, tidecv 1.0.1, sorted real annotations without crowds the same, with the same cost of every kind that is
    removed. Its costs of the first two kinds and of missed objects were lower; it has a class whose objects are all
    taken out stay in the mean, with an AP of 0.

    Args:
        dataset: holds the ground truth, crowds included.
        results: from `to_coco`; may be empty. Their ids and numbers are not checked.
        image_ids: images to look at; all of the data set by default.
    """
    chosen = [record.image_id for record in dataset.records] if image_ids is None else list(image_ids)
    images = np.unique(np.array(chosen, np.int64))
    objects, found = gather(dataset.ground_truth["annotations"]), gather(results)
    order = best_first(found, np.array([result["score"] for result in results], np.float64), images)
    matches = match_all(found, objects, order, images, FOREGROUND_IOU)
    codes, object_of = _sort(matches)

    countable = np.isin(objects.images, images) & ~objects.crowd
    unmatched = countable & ~_among(matches.matched, objects)
    meant = _among(object_of[np.isin(codes, [_CODES[kind] for kind in MOVED])], objects)
    missed = unmatched & ~meant

    ranking = _rank(found, objects, order[matches.counted[order]], codes, object_of, countable)
    base = ranking.average_precision()
    mended: dict[ErrorKind, float] = {
        kind: ranking.moved(kind) if kind in MOVED else ranking.removed([kind]) for kind in OF_DETECTIONS
    }
    mended[ErrorKind.MISSED] = ranking.without_objects(missed)
    return Errors(
        kinds=tuple(_KIND_OF_CODE[code] for code in codes.tolist()),
        object_of=object_of,
        missed=np.flatnonzero(missed),
        ap50=base,
        costs={kind: value - base for kind, value in mended.items()},
        cost_false_positives=ranking.removed(OF_DETECTIONS) - base,
        cost_false_negatives=ranking.without_objects(unmatched) - base,
    )


def _sort(matches: Matches) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """Code of the kind, and the object that it speaks of, for each result; the first kind that fits."""
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


def _among(indices: Int64[np.ndarray, " _"], objects: Boxes) -> Bool[np.ndarray, " G"]:
    """Which objects the indices name; -1 names none."""
    return np.isin(np.arange(len(objects.images)), indices)


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """The detections that count, best first, and the objects; from which AP can be had with errors mended."""

    classes: Int64[np.ndarray, " K"]
    codes: Int64[np.ndarray, " K"]
    objects: Int64[np.ndarray, " K"]
    object_classes: Int64[np.ndarray, " G"]
    countable: Bool[np.ndarray, " G"]
    num_classes: int

    def average_precision(self) -> float:
        return self.removed([])

    def removed(self, kinds: Collection[ErrorKind]) -> float:
        """AP without the detections that are errors of these kinds."""
        keep = ~np.isin(self.codes, [_CODES[kind] for kind in kinds])
        return average_precision(self.classes[keep], self.codes[keep] == _NO_ERROR, self._count(self.countable))

    def without_objects(self, which: Bool[np.ndarray, " G"]) -> float:
        """AP with fewer objects to find."""
        return average_precision(self.classes, self.codes == _NO_ERROR, self._count(self.countable & ~which))

    def moved(self, kind: ErrorKind) -> float:
        """AP with the errors of this kind given the class and box of their object, of which the best one stays."""
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
    found: Boxes,
    objects: Boxes,
    order: Int64[np.ndarray, " K"],
    codes: Int64[np.ndarray, " N"],
    object_of: Int64[np.ndarray, " N"],
    countable: Bool[np.ndarray, " G"],
) -> _Ranking:
    """The ranking of the results that `order` names."""
    categories, classes = np.unique(np.concatenate([objects.categories, found.categories]), return_inverse=True)
    object_classes, found_classes = np.split(classes, [len(objects.categories)])
    return _Ranking(
        found_classes[order], codes[order], object_of[order], object_classes, countable, num_classes=len(categories)
    )
