"""The kinds of errors and their costs straight from their definitions: one detection, one object at a time."""

from collections import Counter

import numpy as np

from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.errors import ErrorKind

FOREGROUND, BACKGROUND = 0.5, 0.1


def iou(a_xywh: list[float], b_xywh: list[float], crowd: bool = False) -> float:
    """Of a detection and an object; with a crowd, the part of the detection that lies on it."""
    sides = [min(a_xywh[i] + a_xywh[i + 2], b_xywh[i] + b_xywh[i + 2]) - max(a_xywh[i], b_xywh[i]) for i in (0, 1)]
    if min(sides) <= 0:
        return 0.0
    shared, area = sides[0] * sides[1], a_xywh[2] * a_xywh[3]
    return shared / (area if crowd else area + b_xywh[2] * b_xywh[3] - shared)


class Twin:
    """Sorts as `sort_errors` does; the fields of the same names mean the same."""

    def __init__(self, dataset: Dataset, results: list[dict]) -> None:
        self.results, self.annotations = results, dataset.ground_truth["annotations"]
        self.kinds: list[ErrorKind | None] = [None] * len(results)
        self.object_of = [-1] * len(results)
        self.correct: set[int] = set()
        order = sorted(range(len(results)), key=lambda i: (-results[i]["score"], results[i]["image_id"], i))
        self.counted = []
        so_far: Counter = Counter()
        for index in order:
            group = results[index]["image_id"], results[index]["category_id"]
            so_far[group] += 1
            if so_far[group] <= 100 and self._match(index):
                self.counted.append(index)
        for index in self.counted:
            if index not in self.correct:
                self.kinds[index], self.object_of[index] = self._kind(index)
        real = [o for o, annotation in enumerate(self.annotations) if not annotation["iscrowd"]]
        self.unmatched = [o for o in real if o not in {self.object_of[index] for index in self.correct}]
        meant = {
            self.object_of[index]
            for index in self.counted
            if self.kinds[index] in (ErrorKind.CLASSIFICATION, ErrorKind.LOCALISATION)
        }
        self.missed = [o for o in self.unmatched if o not in meant]

    def _overlaps(self, index: int, *, own: bool, crowd: bool) -> dict[int, float]:
        """IoU with the objects of the image that are of the detection's class, or of others."""
        result = self.results[index]
        return {
            o: iou(result["bbox"], annotation["bbox"], crowd)
            for o, annotation in enumerate(self.annotations)
            if annotation["image_id"] == result["image_id"]
            and (annotation["category_id"] == result["category_id"]) == own
            and bool(annotation["iscrowd"]) == crowd
        }

    def _match(self, index: int) -> bool:
        """Take the best free object; say whether the detection is counted."""
        taken = {self.object_of[other] for other in self.correct}
        overlaps = self._overlaps(index, own=True, crowd=False)
        free = {o: value for o, value in overlaps.items() if value >= FOREGROUND and o not in taken}
        if free:
            self.object_of[index], _ = max(free.items(), key=lambda item: (item[1], item[0]))
            self.correct.add(index)
            return True
        on_crowd = any(value >= FOREGROUND for value in self._overlaps(index, own=True, crowd=True).values())
        return not on_crowd and self.results[index]["bbox"][2] * self.results[index]["bbox"][3] <= 1e10

    def _kind(self, index: int) -> tuple[ErrorKind, int]:
        def nearest(overlaps: dict[int, float]) -> tuple[float, int]:
            return max(((value, o) for o, value in overlaps.items()), default=(0.0, -1))

        own, own_object = nearest(self._overlaps(index, own=True, crowd=False))
        other, other_object = nearest(self._overlaps(index, own=False, crowd=False))
        if BACKGROUND <= own < FOREGROUND:
            return ErrorKind.LOCALISATION, own_object
        if other >= FOREGROUND:
            return ErrorKind.CLASSIFICATION, other_object
        if own >= FOREGROUND:
            return ErrorKind.DUPLICATE, own_object
        if other >= BACKGROUND:
            return ErrorKind.BOTH, other_object
        return ErrorKind.BACKGROUND, -1

    def cost(self, kind: ErrorKind) -> float:
        """What correcting the errors of this kind alone gains."""
        if kind is ErrorKind.MISSED:
            return self._gain(self._as_found(), without=self.missed)
        if kind not in (ErrorKind.CLASSIFICATION, ErrorKind.LOCALISATION):
            return self._gain([entry for entry in self._as_found() if self.kinds[entry[0]] is not kind])
        corrected, served = [], set()
        for index, category_id, correct in self._as_found():
            target = self.object_of[index]
            if not correct and self.kinds[index] is not kind:
                corrected.append((index, category_id, False))
            elif target not in served:
                served.add(target)
                corrected.append((index, self.annotations[target]["category_id"], True))
        return self._gain(corrected)

    def cost_of_positives(self) -> float:
        return self._gain([entry for entry in self._as_found() if entry[2]])

    def cost_of_negatives(self) -> float:
        return self._gain(self._as_found(), without=self.unmatched)

    def _as_found(self) -> list[tuple[int, int, bool]]:
        """Index, category and whether it is correct, of each detection that counts, best first."""
        return [(index, self.results[index]["category_id"], index in self.correct) for index in self.counted]

    def _gain(self, entries: list[tuple[int, int, bool]], without: list[int] | tuple[()] = ()) -> float:
        return self._average_precision(entries, without) - self._average_precision(self._as_found(), ())

    def _average_precision(self, entries: list[tuple[int, int, bool]], without: list[int] | tuple[()]) -> float:
        values = []
        num_objects = Counter(
            annotation["category_id"]
            for o, annotation in enumerate(self.annotations)
            if not annotation["iscrowd"] and o not in without
        )
        for category_id, count in num_objects.items():
            hits = [correct for _, category, correct in entries if category == category_id]
            curve = [(sum(hits[:n]) / count, sum(hits[:n]) / n) for n in range(1, len(hits) + 1)]
            for level in np.linspace(0, 1, 101).tolist():
                values.append(max((precision for recall, precision in curve if recall >= level), default=0.0))
        return float(np.mean(values)) if values else float("nan")
