import math

import numpy as np
import pytest

from yolox_jax.data.sources.voc import read_voc
from yolox_jax.evaluation import voc
from yolox_jax.evaluation.results import from_results
from yolox_jax.evaluation.voc import voc_ap


@pytest.fixture(scope="module")
def blood_cells(shared):
    """Real annotations in the format of VOC, and noisy copies of them as detections."""
    dataset = read_voc(shared / "data/bccd", "val")
    rng = np.random.default_rng(0)
    results = []
    for annotation in dataset.ground_truth["annotations"]:
        for _ in range(rng.integers(0, 3)):
            x, y, width, height = annotation["bbox"]
            noise = rng.normal(0, 0.12, 4) * [width, height, width, height]
            category = annotation["category_id"] if rng.uniform() < 0.9 else int(rng.integers(1, 4))
            results.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": category,
                    "bbox": (np.array([x, y, width, height]) + noise).tolist(),
                    "score": float(np.round(rng.uniform(), 3)),
                }
            )
    for annotation in dataset.ground_truth["annotations"][::7]:
        annotation["iscrowd"] = 1
    return dataset, results


def twin(dataset, results, category: int, iou_threshold: float, style: str) -> float:
    """The definition of the challenges, in plain loops and sets."""
    objects = [a for a in dataset.ground_truth["annotations"] if a["category_id"] == category]
    detections = sorted((r for r in results if r["category_id"] == category), key=lambda r: -r["score"])
    used, outcomes = set(), []
    for detection in detections:
        best, best_iou = None, -1.0
        for number, other in enumerate(objects):
            if other["image_id"] != detection["image_id"]:
                continue
            ax, ay, aw, ah = detection["bbox"]
            bx, by, bw, bh = other["bbox"]
            across = min(ax + aw, bx + bw) - max(ax, bx) + 1
            down = min(ay + ah, by + bh) - max(ay, by) + 1
            shared = across * down if across > 0 and down > 0 else 0.0
            iou = shared / ((aw + 1) * (ah + 1) + (bw + 1) * (bh + 1) - shared)
            if iou > best_iou:
                best, best_iou = number, iou
        if best is None or best_iou < iou_threshold:
            outcomes.append(False)
        elif not objects[best]["iscrowd"]:
            outcomes.append(best not in used)
            used.add(best)
    count = sum(not a["iscrowd"] for a in objects)
    curve = [(sum(outcomes[: k + 1]) / count, sum(outcomes[: k + 1]) / (k + 1)) for k in range(len(outcomes))]

    def best_precision_from(recall: float) -> float:
        return max((p for r, p in curve if r >= recall), default=0.0)

    if style == "07":
        return sum(best_precision_from(tenth / 10) for tenth in range(11)) / 11
    steps = sorted({r for r, _ in curve})
    return sum((r - before) * best_precision_from(r) for before, r in zip([0.0, *steps], steps, strict=False))


@pytest.mark.parametrize("style", ["07", "10"])
@pytest.mark.parametrize("iou_threshold", [0.5, 0.75])
def test_average_precision_is_that_of_the_definition(blood_cells, style, iou_threshold, monkeypatch):
    monkeypatch.setattr(voc, "IOU_THRESHOLD", iou_threshold)
    dataset, results = blood_cells
    found = voc_ap(dataset, from_results(results), style=style)
    assert list(found) == list(dataset.class_names)
    for name, category in zip(dataset.class_names, dataset.category_ids, strict=True):
        assert found[name] == pytest.approx(twin(dataset, results, category, iou_threshold, style), abs=1e-12), name
        assert 0.01 < found[name] < 0.95


def test_perfect_detections_score_one_none_zero_and_absent_classes_nothing(blood_cells):
    dataset, _ = blood_cells
    first = dataset.ground_truth["annotations"][1]
    perfect = [{key: first[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}]
    of_one_image = dict.fromkeys(dataset.class_names, 0.0)
    name = dataset.class_names[dataset.category_ids.index(first["category_id"])]
    figures = voc_ap(dataset, from_results(perfect), style="10", image_ids=[first["image_id"]])
    assert 0 < figures[name] <= 1
    assert all(value == 0 or math.isnan(value) for other, value in figures.items() if other != name)
    assert voc_ap(dataset, from_results([]), style="07") == of_one_image
    assert all(map(math.isnan, voc_ap(dataset, from_results([]), style="10", image_ids=[]).values()))
