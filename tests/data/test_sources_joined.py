"""Joining several datasets, and taking a fraction of a dataset or some of its classes."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import Config, ConfigError, DataConfig, DatasetConfig
from yolox_jax.config.checks import check_config
from yolox_jax.config.serialization import config_from_dict, config_to_dict
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources import open_datasets


@pytest.fixture
def first(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> DatasetConfig:
    """Classes apple (3) and kite (7); five images with ids 10 to 14."""
    return write_coco(coco_content)


@pytest.fixture
def second(first: DatasetConfig, coco_content: dict[str, Any], tmp_path: Path) -> DatasetConfig:
    """The same images, where category 3 is a pear and 4 a kite."""
    content = copy.deepcopy(coco_content)
    content["categories"] = [{"id": 3, "name": "pear"}, {"id": 4, "name": "kite"}]
    for annotation in content["annotations"]:
        annotation["category_id"] = {7: 4, 3: 3}[annotation["category_id"]]
    (tmp_path / "second.json").write_text(json.dumps(content))
    return replace(first, annotations=str(tmp_path / "second.json"))


def test_classes_of_one_name_are_joined_and_ids_are_unique(first: DatasetConfig, second: DatasetConfig) -> None:
    parts = [open_dataset(config, "train") for config in (first, second)]
    joined = open_datasets(DataConfig(train=first, more_train=(second,)), "train")
    assert joined.class_names == ("apple", "kite", "pear")
    assert joined.category_ids == (3, 7, 8)  # 3 is taken by the apple
    assert [record.image_id for record in joined.records] == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    for ours, theirs in zip(joined.records[5:], parts[1].records, strict=True):
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        names = [
            [parts[1].class_names[index] for index in theirs.classes],
            [joined.class_names[i] for i in ours.classes],
        ]
        assert names[0] == names[1]
    truth = joined.ground_truth
    assert len({entry["id"] for entry in truth["annotations"]}) == len(truth["annotations"]) == 10
    assert {row["id"] for row in truth["images"]} == {record.image_id for record in joined.records}
    names_of = {category["id"]: category["name"] for category in truth["categories"]}
    assert [names_of[entry["category_id"]] for entry in truth["annotations"][:2]] == ["kite", "apple"]
    assert [names_of[entry["category_id"]] for entry in truth["annotations"][5:7]] == ["kite", "pear"]
    assert any("raised image ids by 5" in warning for warning in joined.warnings)


def test_a_further_data_set_is_named_in_errors(first: DatasetConfig) -> None:
    missing = replace(first, annotations="nowhere.json")
    with pytest.raises(ConfigError, match=r"data\.more_val\[1\]\.annotations: the file nowhere\.json does not exist"):
        open_datasets(DataConfig(val=first, more_val=(first, missing)), "val")


def test_settings_of_further_data_sets_are_checked_and_survive_json(first: DatasetConfig) -> None:
    config = Config(data=DataConfig(train=first, more_train=(first, replace(first, fraction=0.5))))
    check_config(config)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    wrong = replace(config, data=replace(config.data, more_train=(replace(first, fraction=1.5),)))
    with pytest.raises(ConfigError, match=r"data\.more-train\[0\]\.fraction must be above 0 and at most 1, got 1\.5"):
        check_config(wrong)


@pytest.mark.parametrize(("fraction", "kept"), [(0.4, [10, 12]), (0.01, [10]), (0.99, [10, 11, 12, 13, 14])])
def test_a_share_of_the_images_is_spread_evenly(first: DatasetConfig, fraction: float, kept: list[int]) -> None:
    dataset = open_dataset(replace(first, fraction=fraction), "train")
    assert [record.image_id for record in dataset.records] == kept
    assert [row["id"] for row in dataset.ground_truth["images"]] == kept
    assert {entry["image_id"] for entry in dataset.ground_truth["annotations"]} <= set(kept)


def test_selected_classes_are_kept_in_order(first: DatasetConfig) -> None:
    whole = open_dataset(first, "train")
    reversed_order = open_datasets(DataConfig(train=first, classes=("kite", "apple")), "train")
    assert (reversed_order.class_names, reversed_order.category_ids) == (("kite", "apple"), (7, 3))
    for ours, theirs in zip(reversed_order.records, whole.records, strict=True):
        np.testing.assert_array_equal(ours.classes, 1 - theirs.classes)

    kites = open_datasets(DataConfig(train=first, classes=("kite",)), "train")
    assert len(kites.records) == 5, "images without a kite stay as background"
    assert [len(record.boxes) for record in kites.records] == [1, 1, 0, 0, 1]
    assert all((record.classes == 0).all() for record in kites.records)
    assert {entry["category_id"] for entry in kites.ground_truth["annotations"]} == {7}
    assert kites.warnings == ("ignored 2 boxes of classes that --data.classes does not name",)


def test_a_selected_class_may_be_missing_in_validation_but_not_in_training(first: DatasetConfig) -> None:
    data = DataConfig(train=first, val=first, classes=("kites", "apple"))
    with pytest.raises(
        ConfigError, match=r"--data\.classes: instances has no class 'kites'; did you mean kite\? It has "
    ):
        open_datasets(data, "train")
    dataset = open_datasets(data, "val")
    assert (dataset.class_names, dataset.category_ids) == (("kites", "apple"), (8, 3))
    assert "instances has no class kites, which --data.classes names" in dataset.warnings
    assert dataset.ground_truth["categories"] == [{"id": 8, "name": "kites"}, {"id": 3, "name": "apple"}]


def test_a_class_named_twice_is_refused(first: DatasetConfig) -> None:
    with pytest.raises(ConfigError, match="names 'kite' twice"):
        open_datasets(DataConfig(train=first, classes=("kite", "apple", "kite")), "train")


def test_nothing_to_train_on_is_said_of_the_joined_data(first: DatasetConfig, coco_content: dict[str, Any]) -> None:
    content = {**coco_content, "annotations": []}
    Path(first.annotations).with_name("empty.json").write_text(json.dumps(content))
    empty = replace(first, annotations=str(Path(first.annotations).with_name("empty.json")))
    assert len(open_datasets(DataConfig(train=empty, more_train=(first,)), "train").records) == 10
    with pytest.raises(
        DataError, match=r"none of the 10 training images has a box .*train\.annot.*, data\.more_train\[0\]\.annot"
    ):
        open_datasets(DataConfig(train=empty, more_train=(empty,)), "train")
