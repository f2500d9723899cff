"""Precision and recall as COCO defines them, by hotcoco or by pycocotools, whose results are the same.

Of what else hotcoco computes, nothing replaces code of this package, because it answers other questions:

- Its confusion matrix pairs detections and objects by score and IoU alone, and counts the 100 best detections of an
  image over all classes. Here correct detections are paired first (`confusion.py`), so that the diagonal agrees with
  the errors and thresholds beside it.
- Its TIDE analysis has totals only, and counts detections on crowds differently. A report also shows which detections
  are wrong, and how (`errors.py`).
- Its F scores come without the score threshold that gives them (`operating_points.py`).
"""

import contextlib
import functools
import io
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from yolox_jax.evaluation.results import ScoredBoxes
from yolox_jax.text import NOTICE

logger = logging.getLogger(__name__)


class Accumulated(NamedTuple):
    """The accumulated results of pycocotools or hotcoco; -1 where no object counts.

    Axes: T the ten IoU thresholds, R the 101 recalls, K categories in ascending order, A the areas all, small, medium
    and large, M at most 1, 10 and 100 detections per image.
    """

    stats: Float64[np.ndarray, " 12"]
    precision: Float64[np.ndarray, "T R K A M"]
    """Highest precision at this recall or above."""
    recall: Float64[np.ndarray, "T K A M"]
    category_ids: tuple[int, ...]


def accumulate(
    ground_truth: dict[str, Any], image_ids: Sequence[int], found: ScoredBoxes, *, fast: bool | None = None
) -> Accumulated:
    """Match detections to annotations, and compute precision and recall.

    Args:
        ground_truth: images, annotations and categories in COCO layout; not modified.
        image_ids: the images to score, in any order.
        found: the detections on these images. Those of one image with equal scores are ranked as given.
        fast: use hotcoco rather than pycocotools; by default if it can be used.
    """
    if fast is None:
        fast = _hotcoco() is not None
    return (_by_hotcoco if fast else _by_pycocotools)(ground_truth, image_ids, found)


@functools.cache
def _hotcoco() -> ModuleType | None:
    """The package, if it can be used; cached, so that a reason why not is given once in a process."""
    try:
        import hotcoco
    except ImportError as error:  # missing, or built for another system
        reason = str(error)
    else:
        if hasattr(hotcoco.COCO, "from_arrays"):
            return hotcoco
        reason = "it is older than 1.2"
    logger.warning(
        "scoring with pycocotools, which takes many times as long as hotcoco, because hotcoco cannot be used: %s. "
        "Install it with `pip install 'hotcoco>=1.2'`",
        reason,
        extra=NOTICE,
    )
    return None


def _by_hotcoco(ground_truth: dict[str, Any], image_ids: Sequence[int], found: ScoredBoxes) -> Accumulated:
    import hotcoco

    images = np.unique(np.array(image_ids, np.int64))
    categories = np.array(_category_ids(ground_truth), np.int64)
    known = set(images.tolist())
    objects = [entry for entry in ground_truth["annotations"] if entry["image_id"] in known]

    def column(key: str, dtype: type) -> np.ndarray:
        return np.array([entry[key] for entry in objects], dtype)

    # Positions stand for ids, which may be negative, or too large for the floats that detections are given as.
    truth = hotcoco.COCO.from_arrays(
        [{"id": position} for position in range(len(images))],
        [{"id": position, "name": str(position)} for position in range(len(categories))],
        np.searchsorted(images, column("image_id", np.int64)),
        np.searchsorted(categories, column("category_id", np.int64)),
        column("bbox", np.float64).reshape(-1, 4),
        area=column("area", np.float64),
        iscrowd=column("iscrowd", np.bool_),
    )
    rows = np.column_stack(
        [
            np.searchsorted(images, found.image_ids),
            found.boxes_xywh,
            found.scores,
            np.searchsorted(categories, found.category_ids),
        ]
    )
    evaluator = hotcoco.COCOeval(truth, truth.load_res(rows), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summary_lines()  # computes `stats` as `summarize` does, but prints nothing
    return _accumulated(evaluator, ground_truth)


def _by_pycocotools(ground_truth: dict[str, Any], image_ids: Sequence[int], found: ScoredBoxes) -> Accumulated:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def index(annotations: list[dict[str, Any]]) -> COCO:
        """Index annotations as `COCO.loadRes` does, which fails on an empty list and requires an `info` entry."""
        coco = COCO()
        shared = {key: ground_truth[key] for key in ("images", "categories")}
        coco.dataset = {**shared, "annotations": annotations}
        coco.createIndex()
        return coco

    results = [
        {**result, "id": number, "iscrowd": 0, "area": result["bbox"][2] * result["bbox"][3]}
        for number, result in enumerate(found.to_results(), start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        # Copies, because it writes to the annotations.
        truth = index([dict(annotation) for annotation in ground_truth["annotations"]])
        evaluator = COCOeval(truth, index(results), iouType="bbox")
        evaluator.params.imgIds = sorted(image_ids)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return _accumulated(evaluator, ground_truth)


def _accumulated(evaluator: Any, ground_truth: dict[str, Any]) -> Accumulated:
    of, stats = evaluator.eval, np.asarray(evaluator.stats[:12], np.float64)
    return Accumulated(stats, of["precision"], of["recall"], _category_ids(ground_truth))


def _category_ids(ground_truth: dict[str, Any]) -> tuple[int, ...]:
    return tuple(sorted(category["id"] for category in ground_truth["categories"]))
