"""What is drawn from the kinds of errors: thresholds, confusion, pictures to look at, and the document of it all."""

import dataclasses
import json
import math

import numpy as np
import pytest

from scored_sets import NAMES, dataset_of, errors_of, make_dataset, random_set, result_of
from yolox_jax.config import Config
from yolox_jax.evaluation import galleries
from yolox_jax.evaluation.analysis import VERSION, analyse
from yolox_jax.evaluation.confusion import confusion_matrix
from yolox_jax.evaluation.errors import ErrorKind
from yolox_jax.evaluation.galleries import worst_images
from yolox_jax.evaluation.operating_points import best_operating_points
from yolox_jax.evaluation.results import from_results
from yolox_jax.evaluation.runner import evaluate_results


def ids(dataset) -> list[int]:
    return [record.image_id for record in dataset.records]


def test_thresholds_have_the_largest_f1_of_all_there_are():
    """Each threshold is tried, with the detections below it taken away before they are sorted."""
    tried = 0
    for seed in range(60):
        dataset, results = random_set(seed)
        errors = errors_of(dataset, results)
        overall, per_class = best_operating_points(dataset, from_results(results), errors, image_ids=ids(dataset))
        objects = [a for a in dataset.ground_truth["annotations"] if not a["iscrowd"]]
        for category, name in [(None, "all"), *zip(dataset.category_ids, NAMES, strict=True)]:
            point = overall if category is None else per_class[name]
            own = [r for r in results if category in (None, r["category_id"])]
            count = sum(category in (None, a["category_id"]) for a in objects)
            best = 0.0
            for threshold in {r["score"] for r in own}:
                kept = [r for r in own if r["score"] >= threshold]
                left = errors_of(dataset, kept)
                correct = sum(k is None and o >= 0 for k, o in zip(left.kinds, left.object_of.tolist(), strict=True))
                wrong = sum(k is not None for k in left.kinds)
                if correct:
                    precision, recall = correct / (correct + wrong), correct / count
                    best = max(best, 2 * precision * recall / (precision + recall))
            assert point.f1 == pytest.approx(best), (seed, name)
            assert math.isnan(point.threshold) == (best == 0), (seed, name)
            tried += best > 0
    assert tried > 50


def test_each_object_and_each_counted_detection_is_in_the_confusion_matrix_once():
    for seed in range(100):
        dataset, results = random_set(seed)
        errors = errors_of(dataset, results)
        counts = confusion_matrix(dataset, from_results(results), errors, image_ids=ids(dataset), score_threshold=0.3)
        objects = [a for a in dataset.ground_truth["annotations"] if not a["iscrowd"]]
        for index, category in enumerate(dataset.category_ids):
            assert counts[index].sum() == sum(a["category_id"] == category for a in objects)
        counted = [
            r["category_id"]
            for r, kind, target in zip(results, errors.kinds, errors.object_of, strict=True)
            if r["score"] >= 0.3 and (kind is not None or target >= 0)
        ]
        for index, category in enumerate(dataset.category_ids):
            assert counts[:, index].sum() == counted.count(category)
        assert counts[-1, -1] == 0


def test_confusion_pairs_correct_detections_first_and_then_the_best_of_other_classes():
    cat, dog = [0.0, 0.0, 100.0, 100.0], [200.0, 0.0, 100.0, 100.0]
    dataset = make_dataset({1: [(0, cat), (1, dog)]})
    results = [
        result_of(1, 1, cat, 0.9),  # a dog where the cat is, but the cat is found too
        result_of(1, 0, cat, 0.5),
        result_of(1, 2, dog, 0.8),  # an owl where the dog is
        result_of(1, 0, dog, 0.7),  # a cat there as well: the owl was surer
        result_of(1, 0, dog, 0.2),
    ]
    errors = errors_of(dataset, results)
    counts = confusion_matrix(dataset, from_results(results), errors, image_ids=[1], score_threshold=0.3)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # cat as cat
    expected[1, 2] = 1  # dog as owl
    expected[3, 1] = expected[3, 0] = 1  # nothing as dog, nothing as cat
    np.testing.assert_array_equal(counts, expected)
    none = confusion_matrix(dataset, from_results(results), errors, image_ids=[1], score_threshold=0.95)
    assert none[0, 3] == none[1, 3] == 1 and none.sum() == 2


def test_galleries_show_the_surest_errors_and_the_most_missed_objects_first(monkeypatch):
    box, far = [10.0, 10.0, 50.0, 50.0], [300.0, 300.0, 40.0, 40.0]
    small, large = [100.0, 100.0, 9.0, 9.0], [200.0, 200.0, 90.0, 90.0]
    missed = {2: [(0, box), (1, far)], 5: [(1, small)], 6: [(1, large)], 7: [(0, small), (1, small), (2, small)]}
    dataset = make_dataset({1: [(0, box)], 3: [(0, box)], 4: [], **missed})
    results = [
        result_of(1, 1, box, 0.6),
        result_of(3, 1, box, 0.9),
        result_of(4, 2, box, 0.4),
        result_of(4, 2, far, 0.1),
    ]
    errors = errors_of(dataset, results)
    shown = worst_images(dataset, from_results(results), errors, score_threshold=0.3)
    assert [image["image_id"] for image in shown[ErrorKind.CLASSIFICATION]] == [3, 1]
    assert [image["image_id"] for image in shown[ErrorKind.MISSED]] == [7, 2, 6, 5]
    (background,) = shown[ErrorKind.BACKGROUND]
    assert background["detections"] == [
        {"box": [10, 10, 60, 60], "class": "owl", "score": 0.4, "kind": "background", "object": None}
    ]
    assert (background["name"], background["height"], background["width"]) == ("4.jpg", 480, 640)
    (first, *_) = shown[ErrorKind.CLASSIFICATION]
    assert first["objects"] == [{"box": [10, 10, 60, 60], "class": "cat", "missed": False}]
    assert first["detections"][0]["object"] == "cat"
    monkeypatch.setattr(galleries, "IMAGES_PER_KIND", 1)
    one = worst_images(dataset, from_results(results), errors, score_threshold=0.3)
    assert [image["image_id"] for image in one[ErrorKind.CLASSIFICATION]] == [3]


def test_detections_that_do_not_count_are_not_shown_as_correct():
    """One is on a crowd, others are beyond the hundred best."""
    cat, crowd = [10.0, 10.0, 50.0, 50.0], [200.0, 200.0, 200.0, 200.0]
    dataset = dataset_of([(1, 0, cat), (1, 1, crowd)], [1], crowds=[1])
    results = [result_of(1, 1, [210.0, 210.0, 50.0, 50.0], 0.9), result_of(1, 0, cat, 0.95)]
    results += [result_of(1, 0, [300.0, 10.0, 20.0, 20.0], 0.9 - 0.001 * rank) for rank in range(120)]
    errors = errors_of(dataset, results)
    ((entry,), *_) = filter(None, worst_images(dataset, from_results(results), errors, score_threshold=0.3).values())
    assert [thing["kind"] for thing in entry["detections"]] == [None] + [ErrorKind.BACKGROUND] * 99
    assert entry["detections"][0]["class"] == "cat"


def test_images_in_archives_have_a_name_but_no_path():
    dataset = make_dataset({1: [(0, [10.0, 10.0, 50.0, 50.0])]})

    class Archive:
        def read(self, position: int) -> bytes:
            raise NotImplementedError

    dataset = dataclasses.replace(dataset, records=(dataclasses.replace(dataset.records[0], archive=Archive()),))
    shown = worst_images(dataset, from_results([]), errors_of(dataset, []), score_threshold=0.3)
    assert [(entry["path"], entry["name"]) for entry in shown[ErrorKind.MISSED]] == [(None, "1.jpg")]


@pytest.mark.parametrize("seed", [*range(5), None])
def test_the_document_is_plain_json_whatever_there_is_to_say(seed):
    """None stands for a dataset without objects or detections."""
    dataset, results = (make_dataset({1: []}), []) if seed is None else random_set(seed)
    losses = {"loss": math.inf, "l1": math.nan, "iou": 1.0}  # as from a diverged network
    evaluation = dataclasses.replace(evaluate_results(dataset, results), losses=losses)
    document = analyse(evaluation, dataset, config=Config(), weights="w")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["version"] == VERSION
    assert document["losses"] == {"loss": None, "l1": None, "iou": 1.0}
    assert document["AP"] == (None if math.isnan(value := evaluation.metrics.figures["AP"]) else value)
    assert document["errors"]["AP50"] == (None if document["AP50"] is None else pytest.approx(document["AP50"]))
    for values in document["curves"]["per_iou"].values():
        assert (values is None) == (document["AP50"] is None)
        assert values is None or len(values) == 101
    if document["AP50"] is not None:
        assert np.mean(document["curves"]["per_iou"]["0.50"]) == pytest.approx(document["AP50"], abs=1e-3)
    assert document["data"]["num_objects"] == sum(document["data"]["objects_per_class"].values())


def test_the_data_is_summed_up_over_the_images_that_count():
    objects = [
        (1, 0, [0.0, 0.0, 31.0, 33.0]),  # 1023 px squared
        (1, 0, [0.0, 0.0, 32.0, 32.0]),
        (1, 1, [0.0, 0.0, 96.0, 96.0]),
        (1, 1, [0.0, 0.0, 300.0, 300.0]),
        (3, 2, [0.0, 0.0, 10.0, 10.0]),
    ]
    dataset = dataset_of(objects, [1, 2, 3], crowds=[3])
    evaluation = dataclasses.replace(evaluate_results(dataset, []), image_ids=[1, 2])
    assert analyse(evaluation, dataset, config=Config(), weights="w")["data"] == {
        "name": "test",
        "class_names": list(NAMES),
        "num_images": 2,
        "num_objects": 3,
        "num_crowds": 1,
        "num_empty_images": 1,
        "objects_per_class": {"cat": 2, "dog": 1, "owl": 0},
        "objects_per_area": {"small": 1, "medium": 1, "large": 1},
        "unreadable_images": ["3.jpg"],
        "warnings": [],
    }
