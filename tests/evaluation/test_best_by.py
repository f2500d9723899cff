"""The figure that chooses the best weights: its value by brute force, and what is refused before training."""

import dataclasses
import math

import pytest

from scored_sets import NAMES, dataset_of, errors_of, make_dataset, random_set
from yolox_jax.config import Config, ConfigError, EvaluationConfig
from yolox_jax.config.best_by import COCO_FIGURES
from yolox_jax.config.checks import check_config
from yolox_jax.evaluation.analysis import analyse
from yolox_jax.evaluation.best_by import best_by_value, check_best_by
from yolox_jax.evaluation.runner import evaluate_results

CATS = make_dataset({1: [(0, [10, 10, 20, 20])], 2: []})
"""One small cat; no dog."""


def points_of_all_thresholds(dataset, results):
    """Precision and recall with the detections below each threshold taken away before they are sorted."""
    num_objects = sum(not entry["iscrowd"] for entry in dataset.ground_truth["annotations"])
    for threshold in {result["score"] for result in results}:
        left = errors_of(dataset, [result for result in results if result["score"] >= threshold])
        correct = sum(k is None and o >= 0 for k, o in zip(left.kinds, left.object_of.tolist(), strict=True))
        wrong = sum(kind is not None for kind in left.kinds)
        if correct:
            yield correct / (correct + wrong), correct / num_objects


def test_recall_at_a_precision_is_the_highest_of_all_thresholds_and_f1_their_best():
    values = set()
    for seed in range(25):
        dataset, results = random_set(seed)
        evaluation, points = evaluate_results(dataset, results), list(points_of_all_thresholds(dataset, results))
        for name, precision in (("recall@0.05", 0.05), ("recall@0.2", 0.2), ("recall@1", 1.0)):
            expected = max((recall for reached, recall in points if reached >= precision), default=0.0)
            values.add(best_by_value(name, evaluation, dataset))
            assert best_by_value(name, evaluation, dataset) == pytest.approx(expected), (seed, name)
        f1 = max((2 * precision * recall / (precision + recall) for precision, recall in points), default=0.0)
        assert best_by_value("F1", evaluation, dataset) == pytest.approx(f1)
    assert len(values) > 8 and 0.0 in values


def test_the_other_figures_are_those_of_the_evaluation():
    dataset, results = random_set(3)
    evaluation = evaluate_results(dataset, results)
    for name in COCO_FIGURES:
        expected = evaluation.metrics.figures[name]
        assert best_by_value(name, evaluation, dataset) == pytest.approx(expected, nan_ok=True)
    assert [best_by_value(f"AP:{name}", evaluation, dataset) for name in NAMES] == pytest.approx(
        list(evaluation.metrics.per_class.values()), nan_ok=True
    )
    assert math.isnan(best_by_value("AP:dog", evaluate_results(CATS, []), CATS))


def test_metrics_name_the_figure_unless_it_is_ap():
    dataset, results = random_set(3)
    evaluation = evaluate_results(dataset, results)
    documents = {
        name: analyse(evaluation, dataset, config=Config(evaluation=EvaluationConfig(best_by=name)), weights="epoch 1")
        for name in ("AP", "recall@0.5")
    }
    added = documents["recall@0.5"].keys() - documents["AP"].keys()
    assert {name: documents["recall@0.5"][name] for name in added} == {
        "best_by": "recall@0.5",
        "recall@0.5": best_by_value("recall@0.5", evaluation, dataset),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mAP", r"no figure mAP; did you mean AP\? Pass one of AP, AP50, .*AR_large; AP:NAME .*; F1; or recall@P"),
        ("AP:", "no figure AP:"),
        ("recall@0", "recall@0: the precision must be above 0 and at most 1"),
        ("recall@90%", "recall@90%: the precision must be"),
    ],
)
def test_unknown_figures_are_refused_with_those_that_there_are(name, message):
    with pytest.raises(ConfigError, match=message):
        check_config(Config(evaluation=EvaluationConfig(best_by=name)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AP:dgo", r"AP:dgo: the validation set test has no such class; did you mean dog\? It has cat, dog, owl"),
        ("AP:dog", "has no objects of the class 'dog'"),
        ("AP_large", "has no large objects"),
        ("AR_medium", "has no medium objects"),
    ],
)
def test_figures_without_objects_to_count_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        check_best_by(name, CATS)


def test_figures_with_objects_are_accepted_and_ap_always():
    for name in ("AP75", "AP:cat", "AP_small", "AR_small", "F1", "recall@0.9"):
        check_best_by(name, CATS)
    crowd_alone = dataset_of([(1, 0, [10, 10, 20, 20])], [1], crowds=[0])
    check_best_by("AP", crowd_alone)
    with pytest.raises(ConfigError, match="has no objects. Choose another figure"):
        check_best_by("F1", crowd_alone)
    named = dataclasses.replace(CATS, class_names=("x_large", "dog", "owl"))
    check_best_by("AP:x_large", named)
