import copy
import math
from collections import Counter

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from error_twin import Twin
from scored_sets import CATEGORY_IDS, dataset_of, errors_of, result_of
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.evaluation import errors as errors_module
from yolox_jax.evaluation.errors import ErrorKind

CAT, DOG, OWL = range(3)


def _ap50(ground_truth: dict, results: list[dict], image_ids: list[int] | None = None) -> float:
    """By pycocotools."""
    truth, found = COCO(), COCO()
    truth.dataset = copy.deepcopy(ground_truth)
    entries = [{**result, "id": number, "iscrowd": 0} for number, result in enumerate(results, start=1)]
    found.dataset = {**truth.dataset, "annotations": [{**e, "area": e["bbox"][2] * e["bbox"][3]} for e in entries]}
    truth.createIndex()
    found.createIndex()
    evaluator = COCOeval(truth, found, "bbox")
    if image_ids is not None:
        evaluator.params.imgIds = image_ids
    for step in (evaluator.evaluate, evaluator.accumulate, evaluator.summarize):
        step()
    return float(evaluator.stats[1]) if evaluator.stats[1] >= 0 else math.nan


# One object of each of two classes, far apart: (100, 100) to (200, 200) a cat, (300, 100) to (400, 200) a dog.
TWO = [(1, CAT, [100.0, 100.0, 100.0, 100.0]), (1, DOG, [300.0, 100.0, 100.0, 100.0])]
ON_CAT, NEAR_CAT, FAR = [100.0, 100.0, 100.0, 100.0], [150.0, 100.0, 100.0, 100.0], [0.0, 0.0, 20.0, 20.0]


@pytest.mark.parametrize(
    ("class_index", "bbox", "kind", "object_of"),
    [
        (CAT, ON_CAT, None, 0),
        (DOG, ON_CAT, ErrorKind.CLASSIFICATION, 0),
        (CAT, NEAR_CAT, ErrorKind.LOCALISATION, 0),  # IoU 1/3
        (DOG, NEAR_CAT, ErrorKind.BOTH, 0),
        (CAT, FAR, ErrorKind.BACKGROUND, -1),
    ],
)
def test_a_detection_is_sorted_by_what_it_overlaps(class_index, bbox, kind, object_of):
    errors = errors_of(dataset_of(TWO, [1]), [result_of(1, class_index, bbox, 0.9)])
    assert (errors.kinds, errors.object_of.tolist()) == ((kind,), [object_of])


def test_a_second_detection_of_an_object_is_a_duplicate_whatever_the_order_given():
    results = [result_of(1, CAT, ON_CAT, 0.5), result_of(1, CAT, [105.0, 100.0, 100.0, 100.0], 0.9)]
    errors = errors_of(dataset_of(TWO, [1]), results)
    assert errors.kinds == (ErrorKind.DUPLICATE, None)
    assert errors.object_of.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("class_index", "bbox", "missed"),
    [(CAT, NEAR_CAT, [1]), (DOG, ON_CAT, [1]), (DOG, NEAR_CAT, [0, 1]), (CAT, FAR, [0, 1])],
)
def test_objects_are_missed_unless_a_detection_was_meant_for_them(class_index, bbox, missed):
    errors = errors_of(dataset_of(TWO, [1]), [result_of(1, class_index, bbox, 0.9)])
    assert errors.missed.tolist() == missed
    assert errors.counts()[ErrorKind.MISSED] == len(missed)


@pytest.mark.parametrize(
    ("width", "kind"),
    [(50.0, None), (49.0, ErrorKind.LOCALISATION), (10.0, ErrorKind.LOCALISATION), (9.0, ErrorKind.BACKGROUND)],
)
def test_a_limit_belongs_to_the_kind_above_it(width, kind):
    dataset = dataset_of([(1, CAT, [0.0, 0.0, 100.0, 10.0])], [1])
    assert errors_of(dataset, [result_of(1, CAT, [0.0, 0.0, width, 10.0], 0.9)]).kinds == (kind,)


def test_where_several_kinds_hold_the_first_of_the_documented_order_is_taken():
    box = [100.0, 100.0, 100.0, 100.0]
    near = [100.0, 100.0, 40.0, 100.0]
    on_both = dataset_of([(1, CAT, box), (1, DOG, box)], [1])
    duplicate = [result_of(1, CAT, box, 0.9), result_of(1, CAT, box, 0.8)]
    assert errors_of(on_both, duplicate).kinds == (None, ErrorKind.CLASSIFICATION)
    near_own = dataset_of([(1, CAT, near), (1, DOG, box)], [1])
    assert errors_of(near_own, [result_of(1, CAT, box, 0.9)]).kinds == (ErrorKind.LOCALISATION,)
    near_other = dataset_of([(1, CAT, box), (1, DOG, near)], [1])
    assert errors_of(near_other, duplicate).kinds == (None, ErrorKind.DUPLICATE)


def test_detections_on_a_crowd_of_their_class_are_not_counted_and_crowds_are_not_missed():
    dataset = dataset_of([*TWO, (1, CAT, [0.0, 300.0, 400.0, 100.0])], [1], crowds=(2,))
    inside = [10.0, 310.0, 20.0, 20.0]
    errors = errors_of(dataset, [result_of(1, CAT, inside, 0.9), result_of(1, DOG, inside, 0.9)])
    assert errors.kinds == (None, ErrorKind.BACKGROUND)
    assert errors.object_of.tolist() == [-1, -1]
    assert errors.missed.tolist() == [0, 1]


def test_only_the_hundred_best_of_a_class_in_an_image_are_counted():
    scores = [0.9 - 0.001 * rank for rank in range(102)]
    results = [result_of(1, class_index, FAR, score) for score in reversed(scores) for class_index in (CAT, DOG)]
    errors = errors_of(dataset_of(TWO, [1]), results)
    assert errors.kinds == (None,) * 4 + (ErrorKind.BACKGROUND,) * 200


def test_costs_are_what_the_remedies_gain():
    """Two cats in two images: one found at 0.5; the other only with errors, each costing what it keeps from 1."""
    objects = [(1, CAT, ON_CAT), (2, CAT, ON_CAT)]
    dataset = dataset_of(objects, [1, 2])
    right = result_of(1, CAT, ON_CAT, 0.5)
    found_one = 51 / 101  # recall 0.5 at precision 1
    cases = [
        (result_of(2, CAT, NEAR_CAT, 0.9), ErrorKind.LOCALISATION, 1.0),
        (result_of(2, CAT, FAR, 0.9), ErrorKind.BACKGROUND, found_one),
        (result_of(1, CAT, ON_CAT, 0.4), ErrorKind.DUPLICATE, found_one),
        (result_of(2, DOG, ON_CAT, 0.9), ErrorKind.CLASSIFICATION, 1.0),
        (result_of(2, DOG, NEAR_CAT, 0.9), ErrorKind.BOTH, found_one),
    ]
    for wrong, kind, corrected in cases:
        errors = errors_of(dataset, [right, wrong])
        assert errors.kinds == (None, kind)
        assert errors.ap50 + errors.costs[kind] == pytest.approx(corrected)
        others = set(ErrorKind) - {kind, ErrorKind.MISSED}
        assert all(errors.costs[other] == 0.0 for other in others)
    errors = errors_of(dataset, [right])
    assert errors.costs[ErrorKind.MISSED] == errors.cost_false_negatives == pytest.approx(1 - found_one)


def test_a_corrected_detection_takes_its_object_from_a_worse_one_but_not_from_a_better_one():
    dataset = dataset_of([(1, CAT, ON_CAT)], [1])
    background = result_of(1, CAT, FAR, 0.7)
    for score, corrected in [(0.9, 1.0), (0.6, 0.5)]:
        results = [result_of(1, CAT, NEAR_CAT, score), background, result_of(1, CAT, ON_CAT, 0.65)]
        errors = errors_of(dataset, results)
        assert errors.kinds == (ErrorKind.LOCALISATION, ErrorKind.BACKGROUND, None)
        assert errors.ap50 + errors.costs[ErrorKind.LOCALISATION] == pytest.approx(corrected)


def test_a_class_whose_objects_were_all_missed_leaves_the_mean_with_them():
    errors = errors_of(dataset_of(TWO, [1]), [result_of(1, CAT, ON_CAT, 0.9)])
    assert (errors.ap50, errors.costs[ErrorKind.MISSED]) == pytest.approx((0.5, 0.5))


def test_no_results_leave_every_object_missed_at_a_cost_that_cannot_be_told():
    errors = errors_of(dataset_of(TWO, [1, 2]), [])
    assert errors.kinds == ()
    assert errors.missed.tolist() == [0, 1]
    assert errors.ap50 == 0.0
    assert math.isnan(errors.costs.pop(ErrorKind.MISSED))
    assert math.isnan(errors.cost_false_negatives)
    assert set(errors.costs.values()) == {errors.cost_false_positives} == {0.0}


def test_without_objects_all_detections_are_background_and_no_cost_can_be_told():
    errors = errors_of(dataset_of([], [1]), [result_of(1, CAT, FAR, 0.9)])
    assert errors.kinds == (ErrorKind.BACKGROUND,)
    assert errors.counts() == {**dict.fromkeys(ErrorKind, 0), ErrorKind.BACKGROUND: 1}
    assert all(map(math.isnan, [errors.ap50, *errors.costs.values(), errors.cost_false_positives]))
    assert math.isnan(errors_of(dataset_of([], []), []).ap50)


def test_images_left_out_have_neither_errors_nor_missed_objects():
    dataset = dataset_of([*TWO, (2, CAT, ON_CAT)], [1, 2])
    results = [result_of(2, CAT, FAR, 0.9), result_of(1, CAT, ON_CAT, 0.8), result_of(1, DOG, TWO[1][2], 0.7)]
    errors = errors_of(dataset, results, image_ids={1})
    assert errors.kinds == (None, None, None)
    assert errors.object_of.tolist() == [-1, 0, 1]
    assert errors.missed.tolist() == []
    assert errors.ap50 == pytest.approx(1.0)


def test_other_limits_move_the_kinds(monkeypatch):
    dataset, results = dataset_of(TWO, [1]), [result_of(1, CAT, NEAR_CAT, 0.9)]  # IoU 1/3
    with monkeypatch.context() as patch:
        patch.setattr(errors_module, "FOREGROUND_IOU", 0.3)
        assert errors_of(dataset, results).kinds == (None,)
    monkeypatch.setattr(errors_module, "BACKGROUND_IOU", 0.4)
    assert errors_of(dataset, results).kinds == (ErrorKind.BACKGROUND,)


def test_sorting_changes_neither_ground_truth_nor_results():
    dataset, results = dataset_of(TWO, [1]), [result_of(1, CAT, ON_CAT, 0.9)]
    truth, before = copy.deepcopy(dataset.ground_truth), copy.deepcopy(results)
    errors_of(dataset, results)
    assert (dataset.ground_truth, results) == (truth, before)


def test_base_ap50_equals_that_of_pycocotools_on_real_annotations(shared):
    """Detections are noisy copies of the annotations, including crowds, and some have another class."""
    folder = shared / "data/coco_val2017_100"
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    rng = np.random.default_rng(0)
    results = [
        {
            "image_id": annotation["image_id"],
            "category_id": annotation["category_id"] if rng.uniform() < 0.9 else int(rng.choice(dataset.category_ids)),
            "bbox": (np.array(annotation["bbox"]) * rng.uniform(0.85, 1.15, 4)).tolist(),
            "score": float(rng.uniform()),
        }
        for annotation in dataset.ground_truth["annotations"] * 2
        if rng.uniform() < 0.7
    ]
    errors = errors_of(dataset, results)
    assert errors.ap50 == pytest.approx(_ap50(dataset.ground_truth, results), rel=1e-12)
    assert 0.2 < errors.ap50 < 0.8
    assert min(errors.counts().values()) > 0
    half = [record.image_id for record in dataset.records[::2]]
    expected = _ap50(dataset.ground_truth, results, image_ids=half)
    assert errors_of(dataset, results, image_ids=half).ap50 == pytest.approx(expected, rel=1e-12)


def _random_set(seed: int) -> tuple[Dataset, list[dict]]:
    """Few boxes on a coarse grid, so that they meet; ties of scores and of IoUs, crowds, empty images, one class."""
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(1, 4))
    image_ids = rng.choice(50, int(rng.integers(1, 5)), replace=False).tolist()

    def box() -> list[float]:
        return [*(rng.integers(0, 4, 2) * 10.0).tolist(), *(rng.integers(1, 5, 2) * 10.0).tolist()]

    objects = [
        (image_id, int(rng.integers(num_classes)), box())
        for image_id in image_ids
        if rng.uniform() < 0.8
        for _ in range(rng.integers(0, 7))
    ]
    crowds = tuple(index for index in range(len(objects)) if rng.uniform() < 0.15)
    results = [
        result_of(int(rng.choice(image_ids)), int(rng.integers(num_classes)), box(), float(rng.choice([0.2, 0.5, 0.9])))
        for _ in range(rng.choice([0, 3, 20, 150]))
    ]
    if len(results) == 150:  # more than the 100 best; and beyond the largest area
        results = [{**result, "image_id": image_ids[0], "category_id": CATEGORY_IDS[CAT]} for result in results[:110]]
        results.append(result_of(image_ids[0], CAT, [0.0, 0.0, 2e5, 2e5], 0.95))
    return dataset_of(objects, image_ids, crowds), results


def test_kinds_and_costs_equal_those_of_a_twin_that_goes_box_by_box():
    seen = Counter()
    for seed in range(150):
        dataset, results = _random_set(seed)
        errors, twin = errors_of(dataset, results), Twin(dataset, results)
        assert list(errors.kinds) == twin.kinds, f"set {seed}"
        assert errors.object_of.tolist() == twin.object_of, f"set {seed}"
        assert errors.missed.tolist() == twin.missed, f"set {seed}"
        seen.update(errors.counts())
        expected = _ap50(dataset.ground_truth, results)
        assert errors.ap50 == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True), f"set {seed}"
        for kind, cost in errors.costs.items():
            assert cost == pytest.approx(twin.cost(kind), abs=1e-12, nan_ok=True), f"set {seed}, {kind}"
            assert not cost < -1e-12
        assert errors.cost_false_positives == pytest.approx(twin.cost_of_positives(), abs=1e-12, nan_ok=True)
        assert errors.cost_false_negatives == pytest.approx(twin.cost_of_negatives(), abs=1e-12, nan_ok=True)
    assert min(seen[kind] for kind in ErrorKind) > 20
