import copy
import json
import math
import sys
import types
from collections.abc import Iterator

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scored_sets import make_dataset, random_set, result_of, score
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.evaluation import coco_scorers
from yolox_jax.evaluation.coco import FIGURES, CocoMetrics, metrics_of
from yolox_jax.evaluation.coco_scorers import accumulate
from yolox_jax.evaluation.results import from_detections, from_results
from yolox_jax.structures import Detections


@pytest.fixture
def dataset() -> Dataset:
    return make_dataset({11: [(0, [10, 10, 100, 120]), (1, [200, 50, 40, 40])], 12: [(0, [30, 40, 20, 20])]})


PERFECT = [
    result_of(11, 0, [10, 10, 100, 120], 0.9),
    result_of(11, 1, [200, 50, 40, 40], 0.8),
    result_of(12, 0, [30, 40, 20, 20], 0.7),
]


def test_perfect_detections_score_one_and_absent_classes_have_no_figure(dataset):
    metrics = score(dataset, PERFECT)
    assert metrics.figures["AP"] == pytest.approx(1.0)
    assert (metrics.per_class["cat"], metrics.per_class["dog"]) == pytest.approx((1.0, 1.0))
    assert math.isnan(metrics.per_class["owl"])
    assert (metrics.num_images, metrics.num_detections) == (2, 3)


def test_figures_carry_the_names_that_other_programs_read(dataset):
    written = score(dataset, PERFECT).to_json()
    for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100"):
        assert 0.0 <= written[name] <= 1.0
    assert written["per_class"] == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0), "owl": None}
    json.dumps(written, allow_nan=False)


def test_no_detections_score_zero(dataset):
    metrics = score(dataset, [])
    assert metrics.figures["AP"] == 0.0
    assert metrics.per_class["cat"] == 0.0
    assert metrics.num_detections == 0


def test_a_dataset_without_objects_has_no_figures():
    metrics = score(make_dataset({1: []}), [result_of(1, 0, [1, 1, 50, 50], 0.9)])
    assert set(metrics.figures) == set(FIGURES)
    assert all(math.isnan(value) for value in metrics.figures.values())
    assert metrics.to_json()["AP"] is None


def test_images_left_out_do_not_count_as_missed(dataset):
    first_only = [result for result in PERFECT if result["image_id"] == 11]
    assert score(dataset, first_only).figures["AP"] < 0.99
    for fast in (False, True):
        accumulated = accumulate(dataset.ground_truth, [11], from_results(first_only), fast=fast)
        metrics = metrics_of(accumulated, dataset, num_images=1, num_detections=2)
        assert metrics.figures["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("fast", [False, True], ids=["pycocotools", "hotcoco"])
def test_scoring_changes_neither_ground_truth_nor_results_and_prints_nothing(dataset, capfd, fast):
    truth, results = copy.deepcopy(dataset.ground_truth), copy.deepcopy(PERFECT)
    score(dataset, results, fast=fast)
    assert dataset.ground_truth == truth
    assert results == PERFECT
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fast", [False, True], ids=["pycocotools", "hotcoco"])
def test_figures_equal_those_of_pycocotools_used_directly(shared, fast):
    """With noisy copies of the annotations as detections, crowds included."""
    folder = shared / "data/coco_val2017_100"
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    rng = np.random.default_rng(0)
    results = [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"],
            "bbox": (np.array(annotation["bbox"]) * rng.uniform(0.8, 1.2, 4)).tolist(),
            "score": float(rng.uniform()),
        }
        for annotation in dataset.ground_truth["annotations"]
        if rng.uniform() < 0.7
    ]
    truth = COCO(str(folder / "instances.json"))
    evaluator = COCOeval(truth, truth.loadRes([dict(result) for result in results]), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    metrics = score(dataset, results, fast=fast)
    np.testing.assert_allclose([metrics.figures[name] for name in FIGURES], evaluator.stats, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.mean(list(metrics.per_iou.values())), evaluator.stats[0], rtol=1e-12)
    of_classes = {
        name: [figures[name] for figures in metrics.per_class_figures.values()] for name in ("AP50", "AR_100")
    }
    assert np.nanmean(of_classes["AP50"]) == pytest.approx(evaluator.stats[1])
    assert np.nanmean(of_classes["AR_100"]) == pytest.approx(evaluator.stats[8])


def test_both_implementations_give_the_same_on_rare_cases():
    """200 random sets: crowds, empty images, no results, ties, one class, areas at the limits, over 100 a image."""
    compared = 0
    for seed in range(200):
        dataset, results = random_set(seed)
        slow, fast = (score(dataset, results, fast=choice) for choice in (False, True))
        for expected, found in zip(_all_figures(slow), _all_figures(fast), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=f"set {seed}")
        compared += not math.isnan(slow.figures["AP"])
    assert compared > 150


def test_ids_of_any_size_and_sign_are_told_apart():
    """Also those that no float represents, in whatever order the images are given."""
    far = 2**60
    dataset = make_dataset(
        {far + 1: [(0, [10, 10, 100, 120])], -5: [(1, [0, 0, 50, 50])], far: [(0, [30, 40, 20, 20])]}
    )
    results = [result_of(far, 0, [30, 40, 20, 20], 0.9), result_of(-5, 1, [0, 0, 50, 50], 0.8)]
    slow, fast = (score(dataset, results, fast=choice) for choice in (False, True))
    assert fast.figures == pytest.approx(slow.figures, abs=1e-12, nan_ok=True)
    assert fast.per_class["dog"] == pytest.approx(1.0) and 0.3 < fast.per_class["cat"] < 0.7


@pytest.mark.parametrize("unusable", [None, types.SimpleNamespace(COCO=object)], ids=["missing", "too old"])
def test_without_a_usable_hotcoco_pycocotools_scores_and_says_so_once(dataset, monkeypatch, caplog, unusable):
    expected = score(dataset, PERFECT, fast=True)
    monkeypatch.setitem(sys.modules, "hotcoco", unusable)
    coco_scorers._hotcoco.cache_clear()
    for _ in range(2):
        assert score(dataset, PERFECT) == expected
    (message,) = caplog.messages
    assert "scoring with pycocotools" in message and "pip install 'hotcoco" in message
    coco_scorers._hotcoco.cache_clear()


def _all_figures(metrics: CocoMetrics) -> Iterator[list[float]]:
    yield list(metrics.figures.values())
    yield list(metrics.per_iou.values())
    yield from (list(figures.values()) for figures in metrics.per_class_figures.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, r"detection 1 \(image id 99, category id 7\): the dataset test has no image with this id"),
        ({"category_id": 5}, r"detection 1 .*no such category\. Its category ids are 3, 7, 9"),
        ({"score": math.nan}, r"detection 1 .*score nan: all must be finite"),
        ({"bbox": [0, 0, math.inf, 1]}, r"detection 1 .*box \[0\.0, 0\.0, inf, 1\.0\]"),
        ({"bbox": [200, 50, -40, 40]}, r"detection 1 .*has a negative side\. It must be \[x, y, width, height\]"),
    ],
)
def test_results_that_cannot_be_scored_are_named(dataset, change, message):
    with pytest.raises(DataError, match=message):
        score(dataset, [PERFECT[0], PERFECT[1] | change, PERFECT[2]])


def test_batches_become_coco_results_without_padding_and_unbounded_boxes(dataset):
    detections = Detections(
        boxes=np.array(
            [[[1, 2, 4, 8], [0, 0, np.inf, 3]], [[5, 5, 6, 7], [0, 0, 0, 0]], [[1, 1, 2, 2]] * 2], np.float32
        ),
        scores=np.array([[0.9, 0.8], [0.5, 0.0], [0.9, 0.9]], np.float32),
        classes=np.array([[1, 0], [2, -1], [0, 0]], np.int32),
        valid=np.array([[True, True], [True, False], [True, True]]),
    )
    found = from_detections(detections, np.array([1, 0, -1], np.int32), dataset)
    assert found.to_results() == [
        {"image_id": 12, "category_id": 7, "bbox": [1, 2, 3, 6], "score": pytest.approx(0.9)},
        {"image_id": 11, "category_id": 9, "bbox": [5, 5, 1, 2], "score": pytest.approx(0.5)},
    ]
