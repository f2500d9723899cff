"""Classes of weights and dataset, matched by name."""

import dataclasses

import numpy as np
import pytest

from scored_sets import CATEGORY_IDS, NAMES, dataset_of
from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.classes import check_classes, match_classes
from yolox_jax.inference.options import numbered_classes
from yolox_jax.weights.coco_names import COCO_NAMES


@pytest.fixture
def dataset() -> Dataset:
    """One object of each of cat, dog and owl."""
    dataset = dataset_of([(1, index, [0, 0, 10, 10]) for index in range(3)], [1])
    (record,) = dataset.records
    record = dataclasses.replace(record, boxes=np.ones((3, 4), np.float32), classes=np.arange(3, dtype=np.int32))
    return dataclasses.replace(dataset, records=(record,))


def named(dataset: Dataset, *names: str) -> Dataset:
    return dataclasses.replace(
        dataset,
        class_names=names,
        ground_truth={
            **dataset.ground_truth,
            "categories": [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, names, strict=True)],
        },
    )


def test_same_classes_in_the_same_order_change_nothing(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    assert match_classes(NAMES, dataset, are_stored=True) is dataset
    assert not caplog.text


def test_another_order_is_matched_by_name(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    matched = match_classes(["owl", "cat", "dog"], dataset, are_stored=True)
    assert matched.class_names == ("owl", "cat", "dog")
    assert matched.category_ids == (9, 3, 7)
    assert matched.records[0].classes.tolist() == [1, 2, 0]
    assert matched.warnings == dataset.warnings
    assert [record.message for record in caplog.records] == [
        "classes of the dataset test are matched by name: their order differs"
    ]


def test_spelling_makes_no_difference(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    odd = named(dataset, "Stop_Sign", " barn owl", "CAT")
    matched = match_classes(["cat", "stop sign", "Barn-Owl"], odd, are_stored=True)
    assert matched.category_ids == (9, 3, 7)
    assert "'Stop_Sign' is 'stop sign' in the weights, ' barn owl' is 'Barn-Owl' in the weights" in caplog.text


def test_classes_that_differ_in_spelling_alone_are_not_mixed_up(dataset: Dataset) -> None:
    odd = named(dataset, "cat", "Cat", "dog")
    assert match_classes(["Cat", "dog", "cat"], odd, are_stored=True).category_ids == (7, 9, 3)
    with pytest.raises(ConfigError, match="The weights do not have Cat"):
        match_classes(["cat", "dog", "bird"], odd, are_stored=True)


def test_weights_may_have_more_classes(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    matched = match_classes(["bird", "owl", "dog", "cat"], dataset, are_stored=True)
    assert matched.category_ids[1:] == (9, 7, 3)
    assert matched.category_ids[0] not in dataset.category_ids
    assert matched.records[0].classes.tolist() == [3, 2, 1]
    assert "not in the dataset, so not detected: bird" in caplog.text


@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "puppy"), ("cat", "dog", "fish", "bird")])
def test_classes_that_the_weights_do_not_have_are_refused(dataset: Dataset, names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"3 \(cat, dog, owl\).*do not have owl: .*pass --data.classes cat dog\."):
        match_classes(names, dataset, are_stored=True)


def test_other_names_entirely_are_refused(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"3 classes \(a, b, c\).*do not have cat, dog, owl") as caught:
        match_classes(["a", "b", "c"], dataset, are_stored=True)
    assert "--data.classes" not in str(caught.value)


def test_weights_without_names_are_matched_by_index(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    assert match_classes(numbered_classes(3), dataset, are_stored=False) is dataset
    assert "carry no class names" in caplog.text and "in that order (cat, dog, owl)" in caplog.text
    with pytest.raises(ConfigError, match=r"have 2 classes .*has 3 \(cat, dog, owl\)\. Use the dataset that"):
        match_classes(numbered_classes(2), dataset, are_stored=False)


def test_weights_without_names_but_with_80_classes_are_those_of_coco_if_the_dataset_is(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    matched = match_classes(COCO_NAMES, named(dataset, "dog", "cat", "person"), are_stored=False)
    assert [matched.category_ids[COCO_NAMES.index(name)] for name in ("dog", "cat", "person")] == [3, 7, 9]
    with pytest.raises(ConfigError, match="have 80 classes"):
        match_classes(COCO_NAMES, dataset, are_stored=False)  # COCO has no owl
    many = dataclasses.replace(dataset, class_names=numbered_classes(80), category_ids=tuple(range(80)))
    assert match_classes(COCO_NAMES, many, are_stored=False) is many


def test_detector_with_classes_in_another_order_is_refused(dataset: Dataset) -> None:
    check_classes(NAMES, dataset)
    check_classes(numbered_classes(3), dataset)
    with pytest.raises(ConfigError, match="class 0 is 'dog' in the detector and 'cat' in the dataset"):
        check_classes(["dog", "cat", "owl"], dataset)
