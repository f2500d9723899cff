"""COCO annotations: what is kept, what is repaired, what is refused."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError

Writer = Callable[[dict[str, Any]], DatasetConfig]


def test_classes_are_the_sorted_category_ids(coco_content: dict[str, Any], write_coco: Writer) -> None:
    dataset = open_dataset(write_coco(coco_content), "train")
    assert dataset.class_names == ("apple", "kite")
    assert dataset.category_ids == (3, 7)
    assert dataset.records[0].classes.tolist() == [1, 0]
    assert dataset.warnings == ()


def test_boxes_become_corners_and_images_without_objects_stay(coco_content: dict[str, Any], write_coco: Writer) -> None:
    records = open_dataset(write_coco(coco_content), "train").records
    np.testing.assert_allclose(records[0].boxes, [[10, 10, 30, 30], [40.5, 8, 56.5, 38]])
    assert [len(record.boxes) for record in records] == [2, 1, 0, 1, 1]
    assert [record.image_id for record in records] == [10, 11, 12, 13, 14]


def test_crowds_are_scored_against_but_not_trained_on(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["annotations"][0]["iscrowd"] = 1
    dataset = open_dataset(write_coco(coco_content), "train")
    assert dataset.records[0].classes.tolist() == [0]
    assert [entry["iscrowd"] for entry in dataset.ground_truth["annotations"]] == [1, 0, 0, 0, 0]


def test_annotations_to_be_ignored_are_scored_against_but_not_trained_on(
    coco_content: dict[str, Any], write_coco: Writer
) -> None:
    coco_content["annotations"][0]["ignore"] = 1
    coco_content["annotations"][1]["ignore"] = 0
    dataset = open_dataset(write_coco(coco_content), "train")
    assert dataset.records[0].classes.tolist() == [0]
    first, second = dataset.ground_truth["annotations"][:2]
    assert (first["ignore"], first["iscrowd"]) == (1, 0) and "ignore" not in second


def test_boxes_over_the_border_are_clipped_and_counted(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["annotations"][0]["bbox"] = [-5, 30, 20, 30]
    coco_content["annotations"][2]["bbox"] = [50, 0, 14.02, 10]  # rounding, not worth a word
    dataset = open_dataset(write_coco(coco_content), "train")
    np.testing.assert_allclose(dataset.records[0].boxes[0], [0, 30, 15, 48])
    assert dataset.records[1].boxes[0, 2] == 64
    assert len(dataset.warnings) == 1
    assert "clipped 1 box to its image (first: annotation id 100, sub/0.jpg)" in dataset.warnings[0]
    assert dataset.ground_truth["annotations"][0]["bbox"] == [-5, 30, 20, 30]


def test_boxes_without_area_are_dropped_and_counted(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["annotations"][0]["bbox"] = [5, 5, 0, 10]
    coco_content["annotations"][1]["bbox"] = [90, 90, 10, 10]  # wholly outside
    dataset = open_dataset(write_coco(coco_content), "train")
    assert len(dataset.records[0].boxes) == 0
    assert "ignored 2 boxes without area in the image (first: annotation id 100" in dataset.warnings[1]


def test_missing_area_is_replaced_by_that_of_the_box(coco_content: dict[str, Any], write_coco: Writer) -> None:
    expected = open_dataset(write_coco(coco_content), "train")
    for entry, area in zip(coco_content["annotations"], (0, 0.0, -1, None), strict=False):
        entry["area"] = area
    del coco_content["annotations"][4]["area"]
    dataset = open_dataset(write_coco(coco_content), "train")
    assert [len(record.boxes) for record in dataset.records] == [2, 1, 0, 1, 1]
    assert dataset.ground_truth == expected.ground_truth
    assert len(dataset.warnings) == 1
    assert (
        "used the area of the box for 5 annotations whose area is missing or not positive (first: annotation id 100"
        in dataset.warnings[0]
    )


def test_positive_area_is_kept(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["annotations"][0]["area"] = 123.5  # of a mask
    coco_content["annotations"][1].update(bbox=[5, 5, 0, 10], area=0)
    dataset = open_dataset(write_coco(coco_content), "train")
    assert [entry["area"] for entry in dataset.ground_truth["annotations"][:2]] == [123.5, 0]
    assert len(dataset.warnings) == 1
    assert "ignored 1 box " in dataset.warnings[0]


def test_split_without_any_box_is_refused_for_training_and_warned_of_for_validation(
    coco_content: dict[str, Any], write_coco: Writer
) -> None:
    coco_content["annotations"] = []
    config = write_coco(coco_content)
    with pytest.raises(
        DataError, match=r"none of the 5 training images has a box \(--data\.train\.annotations /.*json"
    ):
        open_dataset(config, "train")
    (warning,) = open_dataset(config, "val").warnings
    assert "none of the 5 validation images has a box" in warning
    assert "AP is undefined" in warning


def test_refusal_of_a_split_without_boxes_tells_what_became_of_them(
    coco_content: dict[str, Any], write_coco: Writer
) -> None:
    for entry in coco_content["annotations"]:
        entry["bbox"] = [500, 500, 10, 10]
    with pytest.raises(DataError, match=r"nothing to learn from.*ignored 5 boxes without area in the image"):
        open_dataset(write_coco(coco_content), "train")


def test_annotation_ids_of_the_ground_truth_start_at_one(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["annotations"][0]["id"] = 0  # pycocotools takes it for "no match"
    ids = [entry["id"] for entry in open_dataset(write_coco(coco_content), "train").ground_truth["annotations"]]
    assert ids == [1, 2, 3, 4, 5]


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "nan": (lambda c: c["annotations"][1].update(bbox=[1, math.nan, 3, 4]), r"annotation id 101 .*NaN"),
    "infinite": (lambda c: c["annotations"][1].update(bbox=[1, 2, math.inf, 4]), r"annotation id 101 .*infinity"),
    "negative": (lambda c: c["annotations"][2].update(bbox=[9, 9, -3, 4]), r"annotation id 102 .*negative width"),
    "three-numbers": (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"annotation id 100 .*\[x, y, width"),
    "text": (lambda c: c["annotations"][0].update(bbox=["one", 2, 3, 4]), r"annotation id 100 .*bbox must be"),
    "huge": (lambda c: c["annotations"][0].update(bbox=[1, 2, 10**400, 4]), r"annotation id 100 .*bbox must be"),
    "no-box": (lambda c: c["annotations"][0].pop("bbox"), r"annotation id 100 .*bbox must be .* got None"),
    "category": (lambda c: c["annotations"][3].update(category_id=4), r"annotation id 103: unknown category id 4"),
    "image": (lambda c: c["annotations"][3].update(image_id=99), r"annotation id 103: unknown image id 99"),
    "no-category": (
        lambda c: c["annotations"][3].pop("category_id"),
        r"id 103: category_id must be .* got None",
    ),
    "twice": (lambda c: c["images"][4].update(id=10), r"image id 10 appears twice \(sub/0.jpg, sub/4.jpg\)"),
    "text-id": (lambda c: c["images"][1].update(id="a"), r"images\[1\]: id must be an integer; got 'a'"),
    "no-name": (lambda c: c["images"][1].pop("file_name"), r"image id 11 has no file_name"),
    "negative-height": (lambda c: c["images"][1].update(height=-1), r"image id 11: height must be .* got -1"),
    "huge-height": (lambda c: c["images"][1].update(height=10**400), r"image id 11: height must be .* got 10000"),
    "text-height": (
        lambda c: c["images"][1].update(height="tall"),
        r"image id 11: height must be an integer; got 'tall'",
    ),
    "no-size-no-image": (
        lambda c: c["images"][1].update(width=0, file_name="gone.jpg"),
        r"image id 11: width must be .* got 0, and .*gone.jpg does not exist or is .* --data.train.images",
    ),
    "folder": (
        lambda c: c["images"][3].update(file_name="sub"),
        r"names 1 of 5 image files that do not exist: .*sub \(image id 13\)",
    ),
    "category-twice": (
        lambda c: c["categories"][1].update(id=7),
        r"category id 7 is named 'apple' here, and 'kite' before",
    ),
    "name-twice": (
        lambda c: c["categories"][1].update(name="kite"),
        r"category ids 3 and 7 are both named 'kite' and both have",
    ),
    "area-nan": (lambda c: c["annotations"][1].update(area=math.nan), r"annotation id 101: area must be .* got nan"),
    "no-categories": (lambda c: c["categories"].clear(), r"'categories' must name the classes"),
    "no-list": (lambda c: c.pop("images"), r"not in COCO layout: it lacks the list 'images'"),
    "no-annotations": (
        lambda c: c.pop("annotations"),
        r"none of the 5 training images .*there is no list 'annotations'",
    ),
    "no-images": (lambda c: (c["images"].clear(), c["annotations"].clear()), r"no training images"),
    "missing": (
        lambda c: c["images"][3].update(file_name="sub/gone.jpg"),
        r"names 1 of 5 image files that do not exist: .*sub/gone.jpg \(image id 13\). Check --data.train.images",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_invalid_annotations_are_refused_by_name(coco_content: dict[str, Any], write_coco: Writer, case: str) -> None:
    spoil, message = SPOILED[case]
    content = copy.deepcopy(coco_content)
    spoil(content)
    with pytest.raises(DataError, match=message):
        open_dataset(write_coco(content), "train")


def test_subfolder_that_holds_the_images_is_named(coco_content: dict[str, Any], write_coco: Writer) -> None:
    config = write_coco(coco_content)
    config = DatasetConfig(images=str(Path(config.images).parent), annotations=config.annotations)
    with pytest.raises(DataError, match=r"Check --data\.train\.images \(/.*/images has such a file\), or remove"):
        open_dataset(config, "train")


def test_broken_json_is_refused_with_the_place(coco_content: dict[str, Any], write_coco: Writer) -> None:
    config = write_coco(coco_content)
    Path(config.annotations).write_text(json.dumps(coco_content, indent=1)[:-40])
    with pytest.raises(DataError, match=r"instances\.json is not valid JSON: line \d+, column \d+"):
        open_dataset(config, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "/no/such/folder"}, r"--data\.val\.images: the folder /no/such/folder does not exist"),
        ({"images": ""}, r"--data\.val\.images is empty"),
        ({"annotations": "/no/such.json"}, r"--data\.val\.annotations: the file /no/such\.json does not exist"),
        ({"annotations": ""}, r"--data\.val\.annotations is empty"),
    ],
)
def test_paths_that_are_empty_or_do_not_exist_are_named(
    coco_content: dict[str, Any], write_coco: Writer, change: dict[str, str], message: str
) -> None:
    config = write_coco(coco_content)
    with pytest.raises(ConfigError, match=message):
        open_dataset(DatasetConfig(**{"images": config.images, "annotations": config.annotations} | change), "val")


def test_real_coco_annotations_are_read(shared: Path) -> None:
    root = shared / "data" / "coco_val2017_100"
    dataset = open_dataset(DatasetConfig(images=str(root / "images"), annotations=str(root / "instances.json")), "val")
    assert len(dataset.records) == 100
    assert len(dataset.class_names) == 80
    assert sum(len(record.boxes) for record in dataset.records) == 775 - 7
    assert len(dataset.ground_truth["annotations"]) == 775
