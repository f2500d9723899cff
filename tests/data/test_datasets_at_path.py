"""What dataset is at a path: the formats and their splits, where the images are, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data.sources.at_path import datasets_at


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_coco(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": [{"id": n, "file_name": name} for n, name in enumerate(names)]}))
    return path


def coco(images: Path, annotations: Path) -> DatasetConfig:
    return DatasetConfig(format="coco", images=str(images), annotations=str(annotations))


def test_a_data_yaml_is_found_by_its_path_its_folder_and_the_folder_around_it(tmp_path: Path) -> None:
    path = tmp_path / "unpacked" / "data.yaml"
    touch(path, tmp_path / ".hidden" / "data.yaml", tmp_path / "__MACOSX" / "data.yaml")
    path.write_text("train: images\nval: images\nnames: [cat]\n")
    train = DatasetConfig(format="yolo", annotations=str(path))
    val = DatasetConfig(format="yolo", annotations=str(path), split="val")
    for place in (path, path.parent, tmp_path):
        assert datasets_at(place) == (train, val)


@pytest.mark.parametrize(("key", "split"), [("valid", "valid"), ("validation", "validation"), ("test", None)])
def test_the_validation_split_of_a_data_yaml_may_have_another_name(tmp_path: Path, key: str, split: str) -> None:
    path = tmp_path / "my.yml"
    path.write_text(f"train: images\n{key}: images\nnames: [cat]\n")
    _, val = datasets_at(tmp_path)
    assert val == (split and DatasetConfig(format="yolo", annotations=str(path), split=split))


def test_an_invalid_data_yaml_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [cat\n")
    assert datasets_at(tmp_path).train.annotations == str(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        (("train", "val", "trainval"), ("train", "val")),
        (("trainval", "test", "val"), ("trainval", "test")),
        (("train", "valid", "cat_train"), ("train", "valid")),
        (("train", "test"), ("train", None)),
        (("a", "b"), ("train", None)),
    ],
)
def test_the_splits_of_voc_follow_its_lists(tmp_path: Path, lists: Sequence[str], splits: Sequence[str | None]) -> None:
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / "VOC2007" / folder).mkdir(parents=True)
    touch(*(tmp_path / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt" for name in lists))
    found = datasets_at(tmp_path)
    assert tuple(one and one.split for one in found) == splits
    assert (found.train.format, found.train.images) == ("voc", str(tmp_path / "VOC2007"))


def test_a_roboflow_export_in_coco_format_is_found(tmp_path: Path) -> None:
    files = [write_coco(tmp_path / split / "_annotations.coco.json", "a.jpg") for split in ("train", "valid", "test")]
    touch(*(file.parent / "a.jpg" for file in files))
    both = tuple(coco(file.parent, file) for file in files[:2])
    for place in (tmp_path, tmp_path / "train", files[0]):
        assert datasets_at(place) == both
    assert datasets_at(files[2]) == (coco(files[2].parent, files[2]), None)


def test_file_and_folder_may_both_name_the_split(tmp_path: Path) -> None:
    train, val = (write_coco(tmp_path / split / f"{split}.json", "1.jpg") for split in ("train", "val"))
    touch(train.parent / "1.jpg", val.parent / "1.jpg")
    assert datasets_at(train) == (coco(train.parent, train), coco(val.parent, val))


def test_coco_as_published_is_found(tmp_path: Path) -> None:
    train, val = (
        write_coco(tmp_path / "annotations" / f"instances_{split}2017.json", "1.jpg") for split in ("train", "val")
    )
    write_coco(tmp_path / "annotations" / "captions_train2017.json", "1.jpg")
    touch(tmp_path / "train2017" / "1.jpg", tmp_path / "val2017" / "1.jpg")
    expected = (coco(tmp_path / "train2017", train), coco(tmp_path / "val2017", val))
    assert datasets_at(tmp_path) == expected
    assert datasets_at(train) == expected


@pytest.mark.parametrize(
    ("annotations", "image", "name", "images"),
    [
        ("a.json", "1.jpg", "1.jpg", "."),
        ("a.json", "images/1.jpg", "1.jpg", "images"),
        ("a.json", "images/1.jpg", "images/1.jpg", "."),
        ("result.json", "images/1.jpg", r"images\1.jpg", "."),
        ("annotations/a.json", "images/1.jpg", "1.jpg", "images"),
        ("annotations/a.json", "images/1.jpg", "images/1.jpg", "."),
        ("annotations/instances_train.json", "train2017/1.jpg", "train2017/1.jpg", "."),
        ("annotations/instances_default.json", "images/default/1.jpg", "1.jpg", "images/default"),
        ("annotations/train.json", "train/images/1.jpg", "1.jpg", "train/images"),
        ("a.json", "images/1.jpg", r"C:\Users\me\photos\1.jpg", "images"),
        ("a.json", "images/1.jpg", "/home/me/photos/1.jpg", "images"),
        ("a.json", "images/ü 猫.jpg", "ü 猫.jpg", "images"),
    ],
)
def test_images_are_found_in_the_usual_folders(
    tmp_path: Path, annotations: str, image: str, name: str, images: str
) -> None:
    path = write_coco(tmp_path / annotations, name)
    touch(tmp_path / image)
    assert datasets_at(path).train == coco(tmp_path / images, path)


def test_a_relative_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "annotations").mkdir()
    write_coco(tmp_path / "annotations" / "a.json", "1.jpg")
    touch(tmp_path / "images" / "1.jpg")
    monkeypatch.chdir(tmp_path / "annotations")
    assert datasets_at(Path("a.json")).train.images == str(tmp_path / "images")


def test_of_two_folders_that_hold_the_images_the_one_named_after_the_file_is_taken(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "annotations" / "instances_val2017.json", "1.jpg")
    touch(tmp_path / "images" / "1.jpg", tmp_path / "val2017" / "1.jpg")
    assert datasets_at(path).train.images == str(tmp_path / "val2017")


def test_images_in_two_folders_of_equal_rank_are_refused_until_the_flag_says_which(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", "1.jpg")
    touch(tmp_path / "images" / "1.jpg", tmp_path / "1.jpg")
    with pytest.raises(ConfigError, match=r"hold the same number .*a\.json.*--data\.train\.images"):
        datasets_at(path)
    assert datasets_at(path, train_images="mine").train.images == "mine"


def test_images_that_are_nowhere_are_asked_for(tmp_path: Path) -> None:
    train, val = write_coco(tmp_path / "train.json", "1.jpg"), write_coco(tmp_path / "val.json", "2.jpg")
    touch(tmp_path / "images" / "1.jpg")
    with pytest.raises(
        ConfigError, match=r"the images of .*val\.json are not in any of .*first is 2\.jpg.*--data\.val"
    ):
        datasets_at(train)
    assert datasets_at(train, val_images="mine").val == coco(Path("mine"), val)


def test_folders_that_could_mean_several_datasets_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path / "a" / "x.json", "1.jpg")
    write_coco(tmp_path / "b" / "x.json", "1.jpg")
    with pytest.raises(ConfigError, match=r"several datasets: .*a, .*b\. Pass one of them"):
        datasets_at(tmp_path)
    write_coco(tmp_path / "a" / "y.json", "1.jpg")
    with pytest.raises(ConfigError, match=r"several COCO JSON files: .*x\.json, .*y\.json"):
        datasets_at(tmp_path / "a")
    (tmp_path / "a" / "data.yaml").touch()
    with pytest.raises(ConfigError, match="several formats"):
        datasets_at(tmp_path / "a")


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ((), "none", "none does not exist. Pass a data.yaml"),
        (("a.zip",), "a.zip", "is an archive; unpack it"),
        (("a.txt",), "a.txt", "neither a data.yaml nor a COCO JSON"),
        (("a.json",), "a.json", "names no image file"),
        (("a.txt",), ".", "Looked for a data.yaml"),
        (("train/a.xml", "train/a.jpg"), ".", "as Roboflow exports VOC. This is not supported"),
        (("a.xml", "a.jpg"), ".", "as Roboflow exports VOC. This is not supported"),
        (("images/a.jpg", "labels/a.txt"), ".", "has YOLO labels but no data.yaml"),
    ],
)
def test_what_is_no_dataset_is_refused_with_the_way_out(
    tmp_path: Path, files: Sequence[str], path: str, message: str
) -> None:
    touch(*(tmp_path / file for file in files))
    with pytest.raises(ConfigError) as caught:
        datasets_at(tmp_path / path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "below", "around"),
    [
        ("data.yaml", "train", "data.yaml"),
        ("data.yml", "images/train", "data.yml"),
        ("Annotations/a.xml", "JPEGImages", ""),
    ],
)
def test_a_part_of_a_dataset_leads_to_the_dataset(tmp_path: Path, file: str, below: str, around: str) -> None:
    touch(tmp_path / file, tmp_path / below / "a.jpg", tmp_path / below / "labels" / "a.txt")
    with pytest.raises(ConfigError) as caught:
        datasets_at(tmp_path / below)
    assert f"a part of {tmp_path / around}. Pass that" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        (
            ("train/images/a.jpg", "train/labels/a.txt", "valid/images/b.jpg"),
            "train: train/images\n  val: valid/images",
        ),
        (("images/train/a.jpg", "labels/train/a.txt"), "train: images/train"),
        (("images/a.jpg", "labels/a.txt"), "train: images"),
    ],
)
def test_lines_of_a_missing_data_yaml_name_the_folders_that_exist(
    tmp_path: Path, files: Sequence[str], lines: str
) -> None:
    touch(*(tmp_path / file for file in files))
    with pytest.raises(ConfigError) as caught:
        datasets_at(tmp_path)
    assert str(caught.value).endswith(f":\n  {lines}\n  names: [cat, dog]")
