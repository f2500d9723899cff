"""YOLO datasets as programs and other machines write them: paths, names, numbers, keypoints."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bad_datasets import HEIGHT, WIDTH, encoded
from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.checks import ErrorHandler

LINE = "0 0.5 0.5 0.5 0.5"
BOX = [WIDTH / 4, HEIGHT / 4, 3 * WIDTH / 4, 3 * HEIGHT / 4]


def add(root: Path, folder: str, *lines: str) -> None:
    """An image in a folder, with its label file; one more with every call."""
    images, labels = root / folder, root / folder.replace("images", "labels")
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    number = len(list(images.iterdir()))
    (images / f"{number}.jpg").write_bytes(encoded(number))
    (labels / f"{number}.txt").write_text("\n".join(lines or [LINE]))


def config(root: Path, images: Path | None = None, **content: Any) -> DatasetConfig:
    content = {"train": "images/train", "names": ["cat"]} | content
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return DatasetConfig(format="yolo", annotations=str(root / "data.yaml"), images=str(images or ""))


def folders(dataset_config: DatasetConfig, root: Path, which: Any = "train") -> set[str]:
    records = open_dataset(dataset_config, which).records
    assert all(len(record.boxes) for record in records)
    return {str(record.path.parent.relative_to(root)) for record in records}


FOREIGN = [
    "/content/datasets/project-1/train/images",
    "C:\\Users\\me\\project\\train\\images",
    "C:/Users/me/project/train/images",
    "..\\train\\images",
]


@pytest.mark.parametrize("source", FOREIGN)
def test_paths_of_another_machine_are_taken_by_their_end(tmp_path: Path, source: str) -> None:
    add(tmp_path, "train/images")
    add(tmp_path, "valid/images")
    content = {"train": source, "val": source.replace("train", "valid")}
    assert folders(config(tmp_path, **content), tmp_path) == {"train/images"}
    assert folders(config(tmp_path, **content), tmp_path, "val") == {"valid/images"}
    (warning,) = open_dataset(config(tmp_path, **content)).warnings
    assert f"(first: {tmp_path}/data.yaml: train: {source} is read as {tmp_path}/train/images)" in warning


@pytest.mark.parametrize("source", FOREIGN[:3])
@pytest.mark.parametrize("below", ["", "train", "train/images"])
def test_folder_of_images_leads_to_paths_of_another_machine(tmp_path: Path, source: str, below: str) -> None:
    add(tmp_path / "here", "train/images")
    (tmp_path / "settings").mkdir()
    dataset_config = config(tmp_path / "settings", tmp_path / "here" / below, train=source, val=source)
    assert folders(dataset_config, tmp_path) == {"here/train/images"}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train/Images", "train/Labels"),
        ("IMAGES/train", "LABELS/train"),
        ("Images", "labels"),
        ("images", "Labels"),
        ("images/Train", "labels/train"),
    ],
)
def test_labels_are_found_whatever_the_case_of_their_folder(tmp_path: Path, images: str, labels: str) -> None:
    add(tmp_path, "images")
    for old, new in (("labels", "l"), ("images", "i")):
        (tmp_path / old).rename(tmp_path / new)
        target = tmp_path / (labels if old == "labels" else images)
        target.parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / new).rename(target)
    dataset = open_dataset(config(tmp_path, train=images))
    assert dataset.records[0].boxes.tolist() == [BOX]
    (warning,) = dataset.warnings
    assert f"(first: {tmp_path / images}: the labels are in {tmp_path / labels})" in warning


def test_label_folders_that_differ_in_case_only_are_not_chosen_between(tmp_path: Path) -> None:
    add(tmp_path, "images")
    (tmp_path / "images").rename(tmp_path / "Images")
    (tmp_path / "labels").rename(tmp_path / "LABELS")
    (tmp_path / "Labels").mkdir()
    with pytest.raises(DataError, match=r"training image has no box"):
        open_dataset(config(tmp_path, train="Images"))


def test_labels_beside_their_images_are_read_though_a_folder_of_labels_exists(tmp_path: Path) -> None:
    add(tmp_path, "Images")
    (tmp_path / "Labels").mkdir()
    assert folders(config(tmp_path, train="Images"), tmp_path) == {"Images"}


def test_folder_of_images_may_have_another_case(tmp_path: Path) -> None:
    add(tmp_path, "train/images")
    dataset = open_dataset(config(tmp_path, train="Train/Images"))
    assert len(dataset.records[0].boxes) == 1
    (warning,) = dataset.warnings
    assert "file names in another spelling: 1 (first: " in warning


@pytest.mark.parametrize("path", ["/content/project", "D:\\data\\project", "project", "..\\elsewhere"])
def test_key_path_of_another_machine_is_passed_over(tmp_path: Path, path: str) -> None:
    add(tmp_path, "images/train")
    assert folders(config(tmp_path, path=path), tmp_path) == {"images/train"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": "/x/train/images", "val": "/x/valid/images"}, r"images cannot be meant, because val uses it\.$"),
        ({"train": "/x/images", "val": "images/val"}, r"images cannot be meant, because val uses it\.$"),
        (
            {"train": "/x/pictures"},
            r"/x/pictures does not exist\..* pass --data\.train\.images, a folder that contains",
        ),
    ],
)
def test_paths_that_could_mean_another_split_or_nothing_are_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    add(tmp_path, "images/val")
    with pytest.raises(ConfigError, match=message):
        open_dataset(config(tmp_path, **content))


def test_folder_of_images_that_does_not_help_is_told(tmp_path: Path) -> None:
    add(tmp_path, "other")
    with pytest.raises(
        ConfigError, match=r"neither that path nor an end of it, such as train/images, exists below /.*"
    ):
        open_dataset(config(tmp_path, tmp_path, train="/content/x/train/images"))


@pytest.mark.parametrize("line", ["images\\train\\0.jpg", "/content/p/images/train/0.jpg", "data/images/train/0.JPG"])
def test_lists_may_hold_paths_of_another_system(tmp_path: Path, line: str) -> None:
    add(tmp_path, "images/train")
    (tmp_path / "train.txt").write_text(f"{line}\n")
    (warning,) = open_dataset(config(tmp_path, train="train.txt")).warnings
    assert f"train.txt, line 1: {line} is read as {tmp_path}/images/train/0.jpg)" in warning
    assert folders(config(tmp_path, train="train.txt"), tmp_path) == {"images/train"}


def test_lists_may_hold_names_that_are_not_utf8(tmp_path: Path) -> None:
    add(tmp_path, "images/train")
    for folder, ending in (("images", b".jpg"), ("labels", b".txt")):
        odd = os.fsencode(tmp_path) + f"/{folder}/train/caf".encode() + b"\xe9" + ending
        (tmp_path / folder / "train" / f"0{ending.decode()}").rename(os.fsdecode(odd))
    (tmp_path / "train.txt").write_bytes(b"images/train/caf\xe9.jpg\n")
    (record,) = open_dataset(config(tmp_path, train="train.txt")).records
    assert record.path.name == "caf\udce9.jpg"
    assert record.boxes.tolist() == [BOX]
    (tmp_path / "train.txt").write_bytes("images/train/0.jpg".encode("utf-16"))
    with pytest.raises(DataError, match=r"train\.txt is not a text file"):
        open_dataset(config(tmp_path, train="train.txt"))


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"nc": "1"}, ["cat"]),
        ({"nc": 1.0}, ["cat"]),
        ({"nc": None}, ["cat"]),
        ({"names": {"0": "cat", "1": "dog"}, "nc": "2"}, ["cat", "dog"]),
        ({"names": {"10": "dog", "9": "cat"}}, ["cat", "dog"]),
        ({"names": "cat, black dog"}, ["cat", "black dog"]),
        ({"names": "cat"}, ["cat"]),
        ({"names": {"dog": 1, "cat": 0}}, ["cat", "dog"]),
        ({"names": "black cat", "nc": 1}, ["black cat"]),
    ],
)
def test_names_and_their_number_are_read_as_meant(tmp_path: Path, content: dict[str, Any], names: list[str]) -> None:
    add(tmp_path, "images/train", LINE.replace("0", "9", 1) if "10" in content.get("names", "") else LINE)
    dataset = open_dataset(config(tmp_path, **content))
    assert list(dataset.class_names) == names
    assert bool(dataset.warnings) == any(isinstance(value, str | dict) for value in content.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"nc": "one"}, r"nc must be the number of classes; got 'one'"),
        ({"nc": True}, r"nc must be the number of classes; got True"),
        ({"nc": "2"}, r"nc is 2, but names has 1 class\. Correct one"),
        ({"names": "obj.names"}, r"names is the text 'obj\.names'\. Write the class names as a list"),
        ({"names": "black cat"}, r"names is the text 'black cat'\. Write"),
        ({"names": "['cat', 'dog']"}, r"names is the text .*\. Write"),
        ({"names": "cat,,dog"}, r"names is the text 'cat,,dog'\. Write"),
        ({"names": {"0": "cat", 0: "dog"}}, r"names has the class id"),
        ({"names": {"cat": 1, "dog": 2}}, r"names has the class id 'cat'"),
        ({"names": {"cat": 0, "dog": 0}}, r"names has the class id 'cat'"),
        ({"names": {"cat": 0, "2": 1}}, r"names has the class id 'cat'"),
    ],
)
def test_names_and_numbers_of_two_meanings_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    add(tmp_path, "images/train")
    with pytest.raises(DataError, match=message):
        open_dataset(config(tmp_path, **content))


@pytest.mark.parametrize("value", ["9" * 5000, "2024-13-01"])
def test_values_that_yaml_cannot_hold_are_refused(tmp_path: Path, value: str) -> None:
    add(tmp_path, "images/train")
    dataset_config = config(tmp_path)
    with (tmp_path / "data.yaml").open("a") as file:
        file.write(f"version: {value}\n")
    with pytest.raises(DataError, match=r"data\.yaml is not valid YAML"):
        open_dataset(dataset_config)


def pose(rng: np.random.Generator, points: int, dims: int) -> str:
    """A line with a box in the image, and keypoints in the box."""
    size = rng.uniform(0.1, 0.4, 2)
    centre = rng.uniform(size / 2, 1 - size / 2)
    places = rng.uniform(centre - size / 2, centre + size / 2, (points, 2))
    rows = np.column_stack([places, rng.integers(1, 3, points)])[:, :dims]
    return " ".join(f"{value:.6g}" for value in (0, *centre, *size, *rows.ravel()))


@pytest.mark.parametrize(("points", "dims"), [(17, 3), (17, 2), (4, 3), (4, 2), (1, 2), (1, 3), (5, 2), (2, 3)])
def test_keypoints_without_kpt_shape_are_refused(tmp_path: Path, points: int, dims: int) -> None:
    rng = np.random.default_rng(points)
    for _ in range(3):
        add(tmp_path, "images/train", pose(rng, points, dims), pose(rng, points, dims))
    shape = rf"kpt_shape: \[{points}, {dims}\]"
    with pytest.raises(
        DataError, match=rf"0\.txt, line 1, and all lines like it, hold .*has no kpt_shape\. Add {shape}"
    ):
        open_dataset(config(tmp_path))
    boxes = [record.boxes.tolist() for record in open_dataset(config(tmp_path, kpt_shape=[points, dims])).records]
    errors = ErrorHandler(collect=True)
    collected = open_dataset(config(tmp_path), errors=errors)
    assert [error.kind for error in errors.collected] == ["keypoints without kpt_shape"]
    assert [record.boxes.tolist() for record in collected.records] == boxes


def test_one_line_that_may_be_keypoints_is_a_polygon_with_a_warning(tmp_path: Path) -> None:
    add(tmp_path, "images/train", "0 0.5 0.5 0.4 0.4 0.6 0.6")
    dataset = open_dataset(config(tmp_path))
    assert "labels that may be keypoints: 1 (first: /" in dataset.warnings[0]
    assert dataset.records[0].boxes[0, 0] == pytest.approx(0.4 * WIDTH)
    assert open_dataset(config(tmp_path, kpt_shape=None)).warnings == ()
    assert open_dataset(config(tmp_path, kpt_shape=[1, 2])).records[0].boxes[0, 0] == pytest.approx(0.3 * WIDTH)


def polygons(rng: np.random.Generator, corners: int) -> Iterator[str]:
    """Outlines of objects anywhere in the image."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    while True:
        radius = rng.uniform(0.03, 0.2, 2)
        centre = rng.uniform(radius, 1 - radius)
        outline = centre + radius * np.column_stack([np.cos(angles), np.sin(angles)])
        yield " ".join(f"{value:.6g}" for value in (0, *outline.ravel()))


@pytest.mark.parametrize("corners", [3, 4, 5, 8, 19])
def test_polygons_of_equal_length_are_polygons(tmp_path: Path, corners: int) -> None:
    drawn = polygons(np.random.default_rng(corners), corners)
    for _ in range(5):
        add(tmp_path, "images/train", *(next(drawn) for _ in range(4)))
    dataset = open_dataset(config(tmp_path))
    assert dataset.warnings == ()
    assert max(float((record.boxes[:, 2] - record.boxes[:, 0]).max()) for record in dataset.records) <= 0.4 * WIDTH + 1


@pytest.mark.parametrize(
    "line",
    [
        "0 0.40 0.40 0.45 0.40 0.45 0.45 0.40 0.45",  # as keypoints, the two points would span a corner of the box
        "0 0.60 0.62 0.95 0.62 0.95 0.90 0.60 0.90",  # as keypoints, the box would extend beyond the image
    ],
)
def test_rectangles_drawn_as_polygons_are_polygons(tmp_path: Path, line: str) -> None:
    add(tmp_path, "images/train", line, line, line)
    assert open_dataset(config(tmp_path)).records[0].boxes[0, 0] == pytest.approx(float(line[2:6]) * WIDTH)


def test_boxes_among_polygons_tell_that_there_are_no_keypoints(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    add(tmp_path, "images/train", LINE, *(pose(rng, 5, 2) for _ in range(5)))
    assert len(open_dataset(config(tmp_path)).records[0].boxes) == 6
