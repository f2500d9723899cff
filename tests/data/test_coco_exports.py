"""COCO files as annotation programs and converters write them: odd, but with one meaning only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolox_jax.config import DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.sources.checks import ErrorHandler

Writer = Callable[[dict[str, Any]], DatasetConfig]


def boxes(dataset: Dataset) -> list[list[list[float]]]:
    return [record.boxes.tolist() for record in dataset.records]


def one_warning(dataset: Dataset, text: str) -> str:
    (warning,) = (warning for warning in dataset.warnings if text in warning)
    return warning


def remarks(config: DatasetConfig) -> dict[str, list[str]]:
    errors = ErrorHandler(collect=True)
    open_dataset(config, "train", errors=errors)
    assert errors.collected == []
    return {kind.name: texts for kind, texts in errors.remarks.items()}


@pytest.mark.parametrize(
    ("flag", "crowd"),
    [
        ("0", 0), ("1", 1), (" 0 ", 0), ("false", 0), ("True", 1), ("no", 0), ("0.0", 0),
        (False, 0), (True, 1), (0.0, 0), (1.0, 1), (None, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_flags_of_any_type_are_read_as_meant(
    coco_content: dict[str, Any], write_coco: Writer, key: str, flag: object, crowd: int
) -> None:
    coco_content["annotations"][0][key] = flag
    dataset = open_dataset(write_coco(coco_content), "train")
    assert len(dataset.records[0].boxes) == 2 - crowd
    assert dataset.ground_truth["annotations"][0].get(key, 0) == crowd
    assert len(dataset.warnings) == isinstance(flag, str)
    if isinstance(flag, str):
        assert f"flags written as text: 1 (first: {Path(dataset.records[0].path).parents[2]}" in dataset.warnings[0]
        assert f"annotation id 100: {key} {flag!r}" in dataset.warnings[0]


@pytest.mark.parametrize("flag", ["", "maybe", "2", 2, -1, 0.5, [], {}, float("nan")])
@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_flags_that_say_neither_yes_nor_no_are_refused(
    coco_content: dict[str, Any], write_coco: Writer, key: str, flag: object
) -> None:
    coco_content["annotations"][0][key] = flag
    with pytest.raises(DataError, match=rf"annotation id 100: {key} must be 0 or 1; got "):
        open_dataset(write_coco(coco_content), "train")


def test_numbers_written_as_text_are_read_and_counted(coco_content: dict[str, Any], write_coco: Writer) -> None:
    expected = open_dataset(write_coco(coco_content), "train")
    for row in coco_content["images"]:
        row |= {key: str(row[key]) for key in ("id", "height", "width")}
    for entry in coco_content["annotations"]:
        entry |= {key: str(entry[key]) for key in ("image_id", "category_id", "area")}
        entry["bbox"] = [str(side) for side in entry["bbox"]]
    for category in coco_content["categories"]:
        category["id"] = f"0{category['id']}"
    dataset = open_dataset(write_coco(coco_content), "train")
    assert boxes(dataset) == boxes(expected)
    assert dataset.ground_truth == expected.ground_truth
    assert (dataset.class_names, dataset.category_ids) == (expected.class_names, expected.category_ids)
    warning = one_warning(dataset, "numbers written as text")
    assert warning.startswith("numbers written as text: 37 (first: /")
    assert "instances.json: categories[0]: id '07')" in warning


def test_ids_that_are_whole_floats_are_numbers(coco_content: dict[str, Any], write_coco: Writer) -> None:
    expected = open_dataset(write_coco(coco_content), "train")
    for entry in coco_content["annotations"]:
        entry |= {"image_id": float(entry["image_id"]), "category_id": float(entry["category_id"])}
    dataset = open_dataset(write_coco(coco_content), "train")
    assert dataset.ground_truth == expected.ground_truth
    assert dataset.warnings == ()


@pytest.mark.parametrize("value", ["1,5", "1_0", "one", "", "0x10", "nan", "٣", True, None, 10.5, 1e300, [10]])
def test_ids_that_are_no_integers_are_refused(coco_content: dict[str, Any], write_coco: Writer, value: object) -> None:
    coco_content["annotations"][0]["image_id"] = value
    with pytest.raises(DataError, match=r"annotation id 100: image_id must be an integer; got "):
        open_dataset(write_coco(coco_content), "train")


def test_identical_categories_and_images_that_are_repeated_are_one(
    coco_content: dict[str, Any], write_coco: Writer
) -> None:
    expected = open_dataset(write_coco(coco_content), "train")
    coco_content["categories"] += [dict(coco_content["categories"][0], supercategory="toy") for _ in range(3)]
    coco_content["images"].append(dict(coco_content["images"][1], date_captured="today", width=64.0))
    config = write_coco(coco_content)
    dataset = open_dataset(config, "train")
    assert boxes(dataset) == boxes(expected)
    assert dataset.class_names == expected.class_names
    assert "categories listed more than once: 3 (first: " in one_warning(dataset, "categories listed")
    assert "images[5]: image id 11)" in one_warning(dataset, "image entries listed more than once: 1")
    assert {kind: len(texts) for kind, texts in remarks(config).items()} == {
        "categories listed more than once": 3,
        "image entries listed more than once": 1,
    }


def test_image_entries_of_one_id_that_differ_are_refused(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["images"].append(dict(coco_content["images"][1], width=63))
    with pytest.raises(DataError, match=r"image id 11 appears twice"):
        open_dataset(write_coco(coco_content), "train")


@pytest.mark.parametrize("unused", [0, 9])
def test_category_without_annotations_that_has_the_name_of_another_is_left_out(
    coco_content: dict[str, Any], write_coco: Writer, unused: int
) -> None:
    coco_content["categories"].append({"id": unused, "name": "apple", "supercategory": "none"})
    config = write_coco(coco_content)
    dataset = open_dataset(config, "train")
    assert (dataset.class_names, dataset.category_ids) == (("apple", "kite"), (3, 7))
    assert dataset.warnings == ()
    ((kind, (text,)),) = remarks(config).items()
    assert kind == "categories without annotations that share the name of another"
    assert text.endswith(f"category id {unused}, 'apple'; category id 3 is used")


def test_namesakes_without_any_annotation_are_one_class(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["categories"] += [{"id": 0, "name": "pear"}, {"id": 9, "name": "pear"}]
    dataset = open_dataset(write_coco(coco_content), "train")
    assert (dataset.class_names, dataset.category_ids) == (("apple", "kite", "pear"), (3, 7, 9))


def test_class_that_only_groups_others_stays_and_is_told(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["categories"] = [{"id": 0, "name": "things", "supercategory": "none"}] + [
        dict(category, supercategory="things") for category in coco_content["categories"]
    ]
    config = write_coco(coco_content)
    assert open_dataset(config, "train").class_names == ("things", "apple", "kite")
    ((kind, (text,)),) = remarks(config).items()
    assert kind == "classes that only group others"
    assert "category id 0, 'things'" in text


def test_class_names_that_are_numbers_are_text(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["categories"] = [{"id": 7, "name": 1}, {"id": 3, "name": 2.5}]
    assert open_dataset(write_coco(coco_content), "train").class_names == ("2.5", "1")
    coco_content["categories"][0]["name"] = None
    with pytest.raises(DataError, match=r"category id 7 has no name; 'name' is None"):
        open_dataset(write_coco(coco_content), "train")


def test_class_names_that_are_not_valid_unicode_are_refused(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["categories"][0]["name"] = "caf\ud800"
    with pytest.raises(DataError, match=r"the class name 'caf\\ud800' is not valid Unicode"):
        open_dataset(write_coco(coco_content), "train")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("iscrowd", r"All 5 annotations are marked iscrowd: 1 \(crowd\)"),
        ("ignore", r"All 5 annotations are marked ignore: 1"),
    ],
)
def test_split_whose_annotations_are_all_marked_is_refused_with_the_mark(
    coco_content: dict[str, Any], write_coco: Writer, key: str, reason: str
) -> None:
    for entry in coco_content["annotations"]:
        entry[key] = 1
    config = write_coco(coco_content)
    with pytest.raises(DataError, match=rf"none of the 5 training images has a box.*{reason}.* Set this to 0 for"):
        open_dataset(config, "train")
    assert "All 5 annotations" in one_warning(open_dataset(config, "val"), "AP is undefined")


WRITTEN = {
    "images\\sub\\1.jpg": "paths with backslashes",
    "images//sub/./1.jpg": None,
    "/content/data/images/sub/1.jpg": "paths of another machine or folder",
    "C:\\Users\\me\\images\\sub\\1.jpg": "paths of another machine or folder",
    "..\\..\\label-studio\\media\\images\\sub\\1.jpg": "paths of another machine or folder",
    "https://host/bucket/images/sub/1.jpg?X-Amz-Date=3": "paths of another machine or folder",
    "/data/local-files/?d=images/sub/1.jpg": "paths of another machine or folder",
    "images/sub/0a1b2c3d-1.jpg": "paths of another machine or folder",
    " images/sub/1.jpg\n": "file names with spaces around them",
    "images/sub/ 1.jpg": "file names with spaces around them",
    "images/sub/1.JPG": "file names in another spelling",
    "Images/Sub/1.jpg": "file names in another spelling",
}


@pytest.mark.parametrize(
    "size", [{"height": 0, "width": 0}, {"height": None, "width": None}, {"height": 99, "width": "0"}, {}]
)
def test_size_that_is_missing_or_0_is_read_from_the_image(
    coco_content: dict[str, Any], write_coco: Writer, size: dict[str, object]
) -> None:
    expected = open_dataset(write_coco(coco_content), "train")
    for row in coco_content["images"][1:3]:
        del row["height"], row["width"]
        row.update(size)
    config = write_coco(coco_content)
    dataset = open_dataset(config, "train")
    assert dataset.ground_truth == expected.ground_truth
    assert [(record.height, record.width) for record in dataset.records] == [(48, 64)] * 5
    one_warning(dataset, f"image entries without a size: 2 (first: {config.annotations}: image id 11: the size of ")
    (first, _) = remarks(config)["image entries without a size"]
    assert first.endswith("1.jpg is 64x48 px")


def test_image_that_cannot_be_read_needs_its_size(coco_content: dict[str, Any], write_coco: Writer) -> None:
    coco_content["images"][1]["height"] = 0
    config = write_coco(coco_content)
    (Path(config.images) / "sub/1.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"image id 11: height must be .*1\.jpg does not exist or is not an image"):
        open_dataset(config, "train")
    errors = ErrorHandler(collect=True)
    dataset = open_dataset(config, "train", errors=errors)
    assert [error.kind for error in errors.collected] == ["images without a size"]
    assert [record.image_id for record in dataset.records] == [10, 12, 13, 14]


@pytest.mark.parametrize("name", WRITTEN)
def test_file_that_only_one_name_can_mean_is_found(
    coco_content: dict[str, Any], write_coco: Writer, tmp_path: Path, name: str
) -> None:
    for row in coco_content["images"]:
        row["file_name"] = f"images/{row['file_name']}"
    coco_content["images"][1]["file_name"] = name
    config = write_coco(coco_content)
    config = DatasetConfig(images=str(tmp_path), annotations=config.annotations)
    dataset = open_dataset(config, "train")
    assert dataset.records[1].path == tmp_path / "images/sub/1.jpg"
    assert len(dataset.records[1].boxes) == 1
    assert dataset.ground_truth["images"][1]["file_name"] == name
    kind = WRITTEN[name]
    assert len(dataset.warnings) == (kind is not None)
    if kind is not None:
        assert (
            f"{kind}: 1 (first: {config.annotations}: image id 11: {name} is read as {tmp_path}" in dataset.warnings[0]
        )
