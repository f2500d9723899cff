"""Two implementations of the COCO metric: pycocotools, and faster-coco-eval, which gives the same results faster."""

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Result = dict[str, Any]
"""A detection in COCO's format: image_id, category_id, bbox (x, y, width, height in px), score."""

CHUNK = 256
"""Images matched at a time: enough to keep the overhead small, few enough to start early."""


class Accumulated(NamedTuple):
    """The accumulated results of pycocotools or faster-coco-eval; -1 where no object counts.

    Axes: T the ten IoU thresholds, R the 101 recalls, K categories in ascending order, A the areas all, small, medium
    and large, M at most 1, 10 and 100 detections per image.
    """

    stats: Float64[np.ndarray, " 12"]
    precision: Float64[np.ndarray, "T R K A M"]
    """Highest precision at this recall or above."""
    recall: Float64[np.ndarray, "T K A M"]
    category_ids: tuple[int, ...]


@runtime_checkable
class Scorer(Protocol):
    """Takes the results of a dataset image by image, and computes the metrics at the end."""

    def add(self, image_ids: Sequence[int], results: Sequence[Result]) -> None:
        """Add all results of some images; may return before they are matched."""

    def finish(self) -> Accumulated:
        """Compute the metrics of all images that were added."""


def open_scorer(ground_truth: dict[str, Any], *, fast: bool | None = None) -> Scorer:
    """Open a scorer for annotations in COCO layout.

    Args:
        ground_truth: images, annotations and categories; not modified.
        fast: use faster-coco-eval, which matches in a background thread while results are still added; by default if
            it is installed (`pip install 'yolox-jax[fast-eval]'`).
    """
    if fast is None:
        fast = importlib.util.find_spec("faster_coco_eval") is not None
    return _FasterCocoEval(ground_truth) if fast else _Pycocotools(ground_truth)


class _Pycocotools:
    """Scores everything at the end: pycocotools prints, and silencing it affects stdout of the whole process."""

    def __init__(self, ground_truth: dict[str, Any]) -> None:
        self._ground_truth = ground_truth
        self._image_ids: list[int] = []
        self._results: list[Result] = []

    def add(self, image_ids: Sequence[int], results: Sequence[Result]) -> None:
        self._image_ids += image_ids
        self._results += results

    def finish(self) -> Accumulated:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = _index(COCO, self._ground_truth, self._ground_truth["annotations"])
            results = _index(COCO, self._ground_truth, _as_annotations(self._results))
            evaluator = COCOeval(truth, results, iouType="bbox")
            evaluator.params.imgIds = sorted(self._image_ids)
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        return _accumulated(evaluator)


class _FasterCocoEval:
    """Matches a chunk of images at a time in a background thread while further results are added.

    The parts are combined as `faster_coco_eval.utils.pytorch.FasterCocoEvaluator` does.
    """

    def __init__(self, ground_truth: dict[str, Any]) -> None:
        import faster_coco_eval

        self._package, self._ground_truth = faster_coco_eval, ground_truth
        self._truth = _index(faster_coco_eval.COCO, ground_truth, ground_truth["annotations"])
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._waiting_ids: list[int] = []
        self._waiting: list[Result] = []
        self._parts: list[Future[tuple[list[int], np.ndarray]]] = []

    def add(self, image_ids: Sequence[int], results: Sequence[Result]) -> None:
        self._waiting_ids += image_ids
        self._waiting += results
        if len(self._waiting_ids) >= CHUNK:
            self._start()

    def finish(self) -> Accumulated:
        if self._waiting_ids or not self._parts:
            self._start()
        with self._pool:
            parts = [part.result() for part in self._parts]
        image_ids = [image_id for ids, _ in parts for image_id in ids]
        matches = np.concatenate([matched for _, matched in parts], axis=2)
        # Ties of scores are broken by the order of the images, which is that of their ids.
        order = np.argsort(image_ids, kind="stable")
        evaluator = self._evaluator([])
        evaluator.params.imgIds = [image_ids[index] for index in order]
        evaluator._paramsEval = evaluator.params
        evaluator._evalImgs_cpp = matches[:, :, order].ravel().tolist()
        evaluator.accumulate()
        evaluator.summarize()
        return _accumulated(evaluator)

    def _start(self) -> None:
        self._parts.append(self._pool.submit(self._match, self._waiting_ids, self._waiting))
        self._waiting_ids, self._waiting = [], []

    def _match(self, image_ids: list[int], results: list[Result]) -> tuple[list[int], np.ndarray]:
        """Image ids in ascending order, and the matches of each category, area and image."""
        evaluator = self._evaluator(results)
        evaluator.params.imgIds = sorted(image_ids)
        evaluator.evaluate()
        shape = len(evaluator.params.catIds), len(evaluator.params.areaRng), len(image_ids)
        matched = np.empty(int(np.prod(shape)), object)
        matched[:] = evaluator._evalImgs_cpp
        return sorted(image_ids), matched.reshape(shape)

    def _evaluator(self, results: list[Result]) -> Any:
        annotations = _index(self._package.COCO, self._ground_truth, _as_annotations(results))
        return self._package.COCOeval_faster(
            self._truth, annotations, "bbox", print_function=lambda *_: None, separate_eval=True
        )


def _index(coco: type, ground_truth: dict[str, Any], annotations: Sequence[dict[str, Any]]) -> Any:
    """Index annotations as `COCO.loadRes` does, which fails on an empty list and requires an `info` entry."""
    index = coco()
    index.dataset = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        # Copies, because both packages write to them.
        "annotations": [dict(annotation) for annotation in annotations],
    }
    index.createIndex()
    return index


def _as_annotations(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {**result, "id": number, "iscrowd": 0, "area": result["bbox"][2] * result["bbox"][3]}
        for number, result in enumerate(results, start=1)
    ]


def _accumulated(evaluator: Any) -> Accumulated:
    of = evaluator.eval
    stats = np.asarray(evaluator.stats[:12], np.float64)
    category_ids = tuple(int(category) for category in evaluator.params.catIds)
    return Accumulated(stats, of["precision"], of["recall"], category_ids)
