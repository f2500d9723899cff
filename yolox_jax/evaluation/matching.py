"""Matches detections to objects exactly as pycocotools does, and finds the other objects they overlap."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import mask

from yolox_jax.evaluation.results import ScoredBoxes

MOST_DETECTIONS = 100
"""Maximum number of detections that COCO counts per class and image, best first."""

LARGEST_AREA_PX2 = 1e5**2
"""COCO ignores unmatched detections with a larger area."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls that COCO's AP averages over."""


class Objects(NamedTuple):
    """The annotations of many images as arrays."""

    image_ids: Int64[np.ndarray, " N"]
    category_ids: Int64[np.ndarray, " N"]
    boxes_xywh: Float64[np.ndarray, "N 4"]
    """Left, top, width and height in px."""
    crowd: Bool[np.ndarray, " N"]


def to_objects(annotations: Sequence[dict[str, Any]]) -> Objects:
    """Convert annotations in COCO layout to arrays."""
    return Objects(
        image_ids=np.array([entry["image_id"] for entry in annotations], np.int64),
        category_ids=np.array([entry["category_id"] for entry in annotations], np.int64),
        boxes_xywh=np.array([entry["bbox"] for entry in annotations], np.float64).reshape(-1, 4),
        crowd=np.array([entry["iscrowd"] for entry in annotations], bool),
    )


def best_first(found: ScoredBoxes, images: Int64[np.ndarray, " I"]) -> Int64[np.ndarray, " K"]:
    """Indices of the results that count: the `MOST_DETECTIONS` best of each class in each of the images.

    They are in the order in which pycocotools walks along the precision-recall curve: by descending score, then by
    image id, then as given.
    """
    order = np.lexsort((found.image_ids, -found.scores))
    order = order[np.isin(found.image_ids[order], images)]
    grouped = np.lexsort((found.category_ids[order], found.image_ids[order]))
    image, category = found.image_ids[order][grouped], found.category_ids[order][grouped]
    starts = np.ones(len(order), bool)
    starts[1:] = (image[1:] != image[:-1]) | (category[1:] != category[:-1])
    position = np.arange(len(order))
    rank = position - np.maximum.accumulate(np.where(starts, position, 0))
    keep = np.zeros(len(order), bool)
    keep[grouped] = rank < MOST_DETECTIONS
    return order[keep]


@dataclasses.dataclass(frozen=True)
class Matches:
    """For each result its match, and the object, crowds excluded, that it overlaps most (of a tie, the last one)."""

    counted: Bool[np.ndarray, " N"]
    """Whether the result is a true or a false positive; the others are ignored."""
    matched: Int64[np.ndarray, " N"]
    """Index of the object that the result matches; -1 if none."""
    own_iou: Float64[np.ndarray, " N"]
    """Among objects of the class of the result; 0 if there is none."""
    own: Int64[np.ndarray, " N"]
    other_iou: Float64[np.ndarray, " N"]
    """Among objects of all other classes; 0 if there is none."""
    other: Int64[np.ndarray, " N"]


def match_all(
    found: ScoredBoxes,
    objects: Objects,
    order: Int64[np.ndarray, " K"],
    images: Int64[np.ndarray, " I"],
    threshold: float,
) -> Matches:
    """Match results to objects as pycocotools does.

    Each result in turn takes the free object of its class that has the largest IoU with it, if that reaches
    `threshold`. A result that gets none but overlaps a crowd of its class enough is ignored.

    Args:
        found: the results.
        objects: the annotations.
        order: indices of the results that count, from `best_first`; all others are ignored.
        images: ids of the images to match in, ascending.
        threshold: lowest IoU of a match, below 1.
    """
    area = found.boxes_xywh[:, 2] * found.boxes_xywh[:, 3]
    counted = np.zeros(len(area), bool)
    counted[order] = (area[order] >= 0) & (area[order] <= LARGEST_AREA_PX2)
    none, nothing = np.full(len(area), -1), np.zeros(len(area))
    matches = Matches(counted, none, nothing, none.copy(), nothing.copy(), none.copy())
    for rows, columns in zip(
        by_image(found.image_ids, order, images),
        by_image(objects.image_ids, np.arange(len(objects.image_ids)), images),
        strict=True,
    ):
        if rows.size and columns.size:
            _match_image(matches, found, objects, rows, columns, threshold)
    return matches


def by_image(
    image_ids: Int64[np.ndarray, " N"], order: Int64[np.ndarray, " K"], images: Int64[np.ndarray, " I"]
) -> Iterator[Int64[np.ndarray, " _"]]:
    """The members of `order` in each of the images, in this order."""
    order = order[np.argsort(image_ids[order], kind="stable")]
    starts, ends = (np.searchsorted(image_ids[order], images, side=side).tolist() for side in ("left", "right"))
    return (order[start:end] for start, end in zip(starts, ends, strict=True))


def _match_image(
    matches: Matches,
    found: ScoredBoxes,
    objects: Objects,
    rows: Int64[np.ndarray, " D"],
    columns: Int64[np.ndarray, " G"],
    threshold: float,
) -> None:
    """Fill in the matches of one image; `rows` are its results, best first, `columns` its objects."""
    crowd = objects.crowd[columns]
    iou = mask.iou(found.boxes_xywh[rows], objects.boxes_xywh[columns], crowd)
    same_class = found.category_ids[rows][:, None] == objects.category_ids[columns]
    own, other = np.where(same_class & ~crowd, iou, 0.0), np.where(~same_class & ~crowd, iou, 0.0)
    for overlaps, largest, index in ((own, matches.own_iou, matches.own), (other, matches.other_iou, matches.other)):
        best = _last_argmax(overlaps)
        largest[rows], index[rows] = overlaps[np.arange(len(rows)), best], columns[best]
    column = match_greedily(own, threshold)
    matches.matched[rows] = np.where(column >= 0, columns[column], -1)
    on_crowd = ((iou >= threshold) & same_class & crowd).any(axis=1)
    matches.counted[rows] = (column >= 0) | (matches.counted[rows] & ~on_crowd)


def match_greedily(overlaps: Float64[np.ndarray, "D G"], threshold: float) -> Int64[np.ndarray, " D"]:
    """The column that each row matches, among those that no earlier row has taken; -1 if none.

    Args:
        overlaps: IoU of each result, best first, with each object.
        threshold: lowest IoU of a match, above 0. Ties go to the last object, as in pycocotools.
    """
    free = overlaps.copy()
    taken = np.full(len(overlaps), -1)
    for row in np.flatnonzero((overlaps >= threshold).any(axis=1)).tolist():
        best = int(_last_argmax(free[row]))
        if free[row, best] >= threshold:
            taken[row] = best
            free[:, best] = 0.0
    return taken


def _last_argmax(values: Float64[np.ndarray, "*D G"]) -> Any:
    return values.shape[-1] - 1 - values[..., ::-1].argmax(axis=-1)


def average_precision(
    classes: Int64[np.ndarray, " K"], correct: Bool[np.ndarray, " K"], num_objects: Int64[np.ndarray, " C"]
) -> float:
    """AP at one IoU threshold by 101-point interpolation: the mean over classes with objects, NaN if there are none.

    Args:
        classes: class of each detection, best first, as an index into `num_objects`.
        correct: whether each detection is a true positive.
        num_objects: number of objects of each class.
    """
    by_class = np.argsort(classes, kind="stable")
    ends = np.searchsorted(classes[by_class], np.arange(len(num_objects)), side="right").tolist()
    parts = np.split(correct[by_class], ends[:-1]) if ends else []
    values = [_area_under(part, count) for part, count in zip(parts, num_objects.tolist(), strict=True) if count]
    return float(np.mean(values)) if values else float("nan")


def _area_under(correct: Bool[np.ndarray, " K"], num_objects: int) -> float:
    true = np.cumsum(correct)
    precision = true / np.arange(1, len(true) + 1)
    at_least = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(at_least[np.searchsorted(true / num_objects, RECALLS)].mean())
