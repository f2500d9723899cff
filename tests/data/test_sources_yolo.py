"""YOLO text labels: which images and labels belong together, what is kept, what is refused."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import yaml

from scored_sets import score
from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.sources.checks import PARTLY_OUTSIDE, ErrorHandler
from yolox_jax.data.sources.yolo_labels import label_path

WIDTH, HEIGHT = 64, 48


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def _labels(root: Path, name: str, text: str) -> None:
    path = root / "labels" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_yaml(root: Path, **content: Any) -> DatasetConfig:
    content = {"path": ".", "train": "images/train", "val": "images/val", "names": ["cat", "dog"]} | content
    kept = {key: value for key, value in content.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(kept, allow_unicode=True))
    return DatasetConfig(format="yolo", annotations=str(root / "data.yaml"))


@pytest.fixture
def yolo(tmp_path: Path) -> DatasetConfig:
    """Training: b with two boxes, sub/a with one, c with an empty file and d without a file; validation: e."""
    for name in ("train/b.jpg", "train/sub/a.png", "train/c.jpg", "train/d.JPEG", "val/e.jpg"):
        _picture(tmp_path / "images" / name)
    _labels(tmp_path, "train/b", "0 0.5 0.5 0.25 0.5\n\n1 0.125 0.25 0.25 0.5\n")
    _labels(tmp_path, "train/sub/a", "1.0 0.5 0.5 1 1")
    _labels(tmp_path, "train/c", "\n")
    _labels(tmp_path, "val/e", "0 0.5 0.5 0.5 0.5\n")
    return _write_yaml(tmp_path)


def _root(config: DatasetConfig) -> Path:
    return Path(config.annotations).parent


def _names(dataset: Dataset) -> list[str]:
    return [record.path.name for record in dataset.records]


def test_boxes_are_turned_into_px_and_images_without_labels_stay(yolo: DatasetConfig) -> None:
    dataset = open_dataset(yolo, "train")
    assert (dataset.class_names, dataset.category_ids) == (("cat", "dog"), (0, 1))
    assert _names(dataset) == ["b.jpg", "c.jpg", "d.JPEG", "a.png"]
    assert [record.image_id for record in dataset.records] == [1, 2, 3, 4]
    np.testing.assert_array_equal(dataset.records[0].boxes, [[24, 12, 40, 36], [0, 0, 16, 24]])
    np.testing.assert_array_equal(dataset.records[3].boxes, [[0, 0, 64, 48]])
    assert [record.classes.tolist() for record in dataset.records] == [[0, 1], [], [], [1]]
    (warning,) = dataset.warnings
    assert "1 image has no label file and counts as background (first: /" in warning
    assert warning.endswith("labels/train/d.txt)")
    assert _names(open_dataset(yolo, "val")) == ["e.jpg"]


def test_classes_of_the_id_zero_are_scored(yolo: DatasetConfig) -> None:
    dataset = open_dataset(yolo, "train")
    entries = dataset.ground_truth["annotations"]
    assert entries[0] == {"id": 1, "image_id": 1, "category_id": 0, "bbox": [24, 12, 16, 24], "area": 384, "iscrowd": 0}
    results = [{key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for entry in entries]
    assert score(dataset, results).per_class == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0)}
    assert score(dataset, results[1:]).per_class["cat"] == 0


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.1.jpg", "/d/labels/train/a.1.txt"),
        ("/images/d/images/a.png", "/images/d/labels/a.txt"),
        ("/d/train/images/images.jpg", "/d/train/labels/images.txt"),
        ("/d/pictures/a.jpg", "/d/pictures/a.txt"),
        ("/d/my images/a.jpg", "/d/my images/a.txt"),
    ],
)
def test_labels_lie_where_the_last_folder_images_is_replaced(image: str, label: str) -> None:
    assert label_path(Path(image)) == Path(label)


def test_polygons_are_taken_as_their_bounding_box(yolo: DatasetConfig) -> None:
    _labels(_root(yolo), "train/b", "0 0.25 0.5 0.5 0.125 0.375 0.75\n1 0.5 0.25 1 0.25 1 0.5 0.5 0.5\n")
    boxes = open_dataset(yolo, "train").records[0].boxes
    np.testing.assert_array_equal(boxes, [[16, 6, 32, 36], [32, 12, 64, 24]])


def test_keypoints_are_no_polygon(yolo: DatasetConfig) -> None:
    _labels(_root(yolo), "train/b", "0 0.5 0.5 0.25 0.5 0.1 0.1 2 0 0 0\n")
    config = _write_yaml(_root(yolo), kpt_shape=[2, 3])
    np.testing.assert_array_equal(open_dataset(config, "train").records[0].boxes, [[24, 12, 40, 36]])


def test_boxes_over_the_border_and_without_area_are_repaired_and_counted(yolo: DatasetConfig) -> None:
    _labels(_root(yolo), "train/b", "0 0.1 0.5 0.5 0.5\n1 0.5 0.5 0 0.5\n0 0.5 0.5 1.000001 0.5\n")
    dataset = open_dataset(yolo, "train")
    np.testing.assert_allclose(dataset.records[0].boxes, [[0, 12, 22.4, 36], [0, 12, 64, 36]], rtol=1e-6)
    assert (
        "clipped 1 box to its image (first: /" in dataset.warnings[1] and "train/b.txt, line 1)" in dataset.warnings[1]
    )
    assert (
        "ignored 1 box without area in the image (first: /" in dataset.warnings[2]
        and "train/b.txt, line 2)" in dataset.warnings[2]
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", r"b\.txt, line 2 holds 4 numbers. A line holds class, centre x"),
        ("0 0.5 0.5 0.5 0.5 0.9", r"b\.txt, line 2 holds 6 numbers; remove the score"),
        ("0 .1 .1 .2 .2 .3 .3 .4", r"b\.txt, line 2 holds 8 numbers"),
        ("0", r"b\.txt, line 2 holds 1 number\."),
        ("0,0.5,0.5,0.5,0.5", r"b\.txt, line 2 is '0,0.5,0.5,0.5,0.5'. A line holds"),
        ("cat 0.5 0.5 0.5 0.5", r"b\.txt, line 2 is 'cat 0.5"),
        ("0.5 0.5 0.5 0.5 0.5", r"b\.txt, line 2: class must be an integer; got 0.5"),
        (
            "2 0.5 0.5 0.5 0.5",
            r"b\.txt, line 2: unknown class 2; names in the data\.yaml has 0, 1\. Classes count from 0",
        ),
        ("-1 0.5 0.5 0.5 0.5", r"b\.txt, line 2: unknown class -1"),
        ("0 nan 0.5 0.5 0.5", r"b\.txt, line 2 is .*NaN or infinity"),
        ("inf 0.5 0.5 0.5 0.5", r"b\.txt, line 2 is .*NaN or infinity"),
        ("0 30 20 10 10", r"b\.txt, line 2: 30 is above 1. .* If these are px, divide x"),
        ("0 0.5 0.5 0.5 1.2", r"b\.txt, line 2: 1.2 is above 1"),
        ("0 -0.2 0.5 0.5 0.5", r"b\.txt, line 2: -0.2 is below 0"),
        ("0 0.5 0.5 -0.5 0.5", r"b\.txt, line 2: box .* negative width or height"),
    ],
)
def test_invalid_lines_are_refused_by_file_and_line(yolo: DatasetConfig, line: str, message: str) -> None:
    _labels(_root(yolo), "train/b", f"0 0.5 0.5 0.25 0.5\n{line}\n")
    with pytest.raises(DataError, match=message):
        open_dataset(yolo, "train")


def test_a_check_continues_after_invalid_lines_and_files(yolo: DatasetConfig, tmp_path: Path) -> None:
    _labels(tmp_path, "train/b", "7 .5 .5 .5 .5\n0 .5 .5 .25 .5\n0 30 20 10 10\n0 .5 .5 .5 1.1\n0 .1 .5 .5 .5\n")
    (tmp_path / "labels/train/c.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "list.txt").write_text("images/train/b.jpg\nimages/train/c.jpg\ngone.jpg\n")
    errors = ErrorHandler(collect=True)
    dataset = open_dataset(_write_yaml(tmp_path, train="list.txt", nc=4), "train", errors=errors)
    assert [error.kind for error in errors.collected] == [
        "missing image files",
        "mismatched number of classes",
        "unknown category ids",
        "coordinates that are not fractions",
        "coordinates that are not fractions",
        "malformed labels",
    ]
    assert [len(record.boxes) for record in dataset.records] == [2, 0]
    assert [(entry.kind, entry.path.name) for entry in errors.repairs] == [(PARTLY_OUTSIDE, "b.jpg")]


def test_labels_that_are_no_text_are_refused(yolo: DatasetConfig) -> None:
    (_root(yolo) / "labels/train/b.txt").write_bytes(b"\xff\xfe0\x00")
    with pytest.raises(DataError, match=r"b\.txt is not a text file"):
        open_dataset(yolo, "train")


def test_labels_that_cannot_be_read_are_refused(yolo: DatasetConfig) -> None:
    (_root(yolo) / "labels/train/d.txt").mkdir()
    with pytest.raises(DataError, match=r"d\.txt cannot be read \(Is a directory\)"):
        open_dataset(yolo, "train")


def test_names_may_be_numbered_with_gaps(yolo: DatasetConfig) -> None:
    _labels(_root(yolo), "train/b", "0 0.5 0.5 0.25 0.5\n3 0.125 0.25 0.25 0.5\n")
    config = _write_yaml(_root(yolo), names={3: "dog", 0: "cat", 1: 7}, nc=3)
    dataset = open_dataset(config, "train")
    assert (dataset.class_names, dataset.category_ids) == (("cat", "7", "dog"), (0, 1, 3))
    assert dataset.records[0].classes.tolist() == [0, 2]
    assert [entry["category_id"] for entry in dataset.ground_truth["annotations"][:2]] == [0, 3]


def test_images_are_found_in_lists_and_in_several_folders(yolo: DatasetConfig, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.txt").write_text(f"{tmp_path}/images/train/b.jpg\n../images/train/c.jpg\n\n")
    config = _write_yaml(tmp_path, train=["lists/train.txt", "images/val"])
    assert _names(open_dataset(config, "train")) == ["b.jpg", "e.jpg", "c.jpg"]
    (tmp_path / "lists/train.txt").write_text("images/train/b.jpg\n./images/train/c.jpg\n")  # from the root
    dataset = open_dataset(_write_yaml(tmp_path, train=["lists/train.txt", "images/train/sub"]), "train")
    assert _names(dataset) == ["b.jpg", "c.jpg", "a.png"]
    overlap = open_dataset(_write_yaml(tmp_path, train=["images/train", "images/train/sub"]), "train")
    assert len(overlap.records) == 4
    (warning,) = (text for text in overlap.warnings if "more than once" in text)
    assert warning.startswith("images named more than once: 1 (first: /")


def test_paths_start_from_path_or_from_the_folder_of_images(yolo: DatasetConfig, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    config = _write_yaml(tmp_path / "elsewhere", path="..")
    assert len(open_dataset(config, "train").records) == 4
    gone = _write_yaml(tmp_path / "elsewhere", path="/content/dataset")
    with pytest.raises(
        ConfigError, match=r"data\.train\.annotations: .*data\.yaml says train: images/train, but .* does not exist"
    ):
        open_dataset(gone, "train")
    overridden = DatasetConfig(format="yolo", annotations=gone.annotations, images=str(tmp_path))
    assert len(open_dataset(overridden, "train").records) == 4


def test_links_in_circles_list_an_image_once(yolo: DatasetConfig) -> None:
    images = Path(yolo.annotations).parent / "images"
    before = len(open_dataset(yolo, "train").records)
    folder = next(path for path in images.rglob("*") if path.is_dir())
    (folder / "circle").symlink_to(images / "train", target_is_directory=True)
    assert len(open_dataset(yolo, "train").records) == before


def test_folders_written_by_roboflow_are_found(tmp_path: Path) -> None:
    _picture(tmp_path / "train/images/a.jpg")
    (tmp_path / "train/labels").mkdir()
    (tmp_path / "train/labels/a.txt").write_text("0 0.5 0.5 0.5 0.5")
    config = _write_yaml(tmp_path, path=None, train="../train/images", val="../valid/images")
    assert [len(record.boxes) for record in open_dataset(config, "train").records] == [1]


def test_split_is_a_key_of_the_yaml(yolo: DatasetConfig, tmp_path: Path) -> None:
    config = _write_yaml(tmp_path, test="images/val", val=None)
    assert _names(open_dataset(DatasetConfig("yolo", annotations=config.annotations, split="test"), "val")) == ["e.jpg"]
    with pytest.raises(ConfigError, match=r"--data\.val\.split is 'val', but .*Available splits: train, test\.$"):
        open_dataset(config, "val")


def test_unicode_and_long_paths_are_read(tmp_path: Path) -> None:
    root = tmp_path / "größe 猫"
    for _ in range(12):
        root /= "x" * 100
    _picture(tmp_path / "a.jpg")
    name = "ü" * 120 + " 1"
    (root / "images/train").mkdir(parents=True)
    os.rename(tmp_path / "a.jpg", root / f"images/train/{name}.jpg")  # noqa: PTH104
    _labels(root, f"train/{name}", "0 0.5 0.5 0.5 0.5")
    dataset = open_dataset(_write_yaml(root, names=["Katze ä"]), "train")
    assert dataset.class_names == ("Katze ä",)
    assert load_image(dataset.records[0]).shape == (HEIGHT, WIDTH, 3)
    assert len(dataset.records[0].boxes) == 1


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp", "tif", "jp2"])
def test_size_is_that_of_the_image_as_it_is_loaded(yolo: DatasetConfig, tmp_path: Path, ending: str) -> None:
    for orientation in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / f"images/val/{orientation}.{ending}", exif=exif)
    records = open_dataset(yolo, "val").records
    sizes = [load_image(record).shape[:2] for record in records]  # raises if it differs from the record
    if ending in ("jpg", "png", "webp", "tif"):
        assert sizes[:8] == [(HEIGHT, WIDTH)] * 4 + [(WIDTH, HEIGHT)] * 4


def test_orientation_that_opencv_does_not_heed_is_not_heeded(yolo: DatasetConfig, tmp_path: Path) -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    image = PIL.Image.new("RGB", (WIDTH, HEIGHT))
    image.save(tmp_path / "images/val/xmp.jpg", xmp=xmp)
    image.save(tmp_path / "images/val/spoilt.jpg", exif=b"Exif\0\0garbage")
    for record in open_dataset(yolo, "val").records:
        assert load_image(record).shape == (HEIGHT, WIDTH, 3)


def test_unreadable_image_stays_without_its_boxes_and_is_broken_when_it_is_loaded(yolo: DatasetConfig) -> None:
    broken = _root(yolo) / "images/train/b.jpg"
    broken.write_bytes(b"no image")
    dataset = open_dataset(yolo, "train")
    assert _names(dataset)[0] == "b.jpg" and len(dataset.records[0].boxes) == 0
    assert f"ignored the boxes of 1 image that cannot be read (first: {broken})" in dataset.warnings
    with pytest.raises(BrokenImage, match=r"b\.jpg: is not an image that OpenCV can decode"):
        load_image(dataset.records[0])
    assert all(entry["image_id"] != 1 for entry in dataset.ground_truth["annotations"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": None}, r"data\.yaml has no names. Add the class names"),
        ({"names": []}, r"data\.yaml has no names"),
        ({"names": None, "nc": 2}, r"data\.yaml has no names"),
        ({"nc": 3}, r"data\.yaml: nc is 3, but names has 2 classes"),
        ({"names": ["cat", "cat"]}, r"classes 0 and 1 are both named 'cat'"),
        ({"names": ["yes", False]}, r"name of class 1 is False; put it in quotes"),
        ({"names": {"cat": 1}}, r"class id 'cat'; ids must be integers"),
        ({"names": ["cat"]}, r"b\.txt, line 3: unknown class 1"),
        (
            {"train": "images/none"},
            r"says train: images/none, but /.*images/none does not exist. Paths are relative",
        ),
        ({"train": "~nobody-here/images"}, r"says train: ~nobody-here/images, but .* does not exist"),
        ({"train": "x" * 300}, r"but .* does not exist"),
        ({"train": "data.yaml"}, r"is neither a folder nor a \.txt list"),
        ({"train": None}, r"--data\.train\.split is 'train', but .*data\.yaml names no images .*Available splits: val"),
        ({"train": [3]}, r"names no images under this key"),
        ({"train": "empty"}, r"no images: .*says train: empty, but there are none"),
        ({"train": "empty.txt"}, r"no images: .*says train: empty\.txt, but there are none"),
        ({"train": "gone.txt"}, r"gone\.txt names 1 of 1 image files that do not exist: .*x\.jpg \(line 2\)"),
    ],
)
def test_invalid_yaml_is_refused_with_the_fix(
    yolo: DatasetConfig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "gone.txt").write_text("\nimages/train/x.jpg\n")
    with pytest.raises((ConfigError, DataError), match=message):
        open_dataset(_write_yaml(tmp_path, **change), "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"names: [cat\ntrain: x", r"data\.yaml is not valid YAML: line 2: "),
        (b"", r"data\.yaml is not a data\.yaml"),
        (b"\xff\xfe", r"data\.yaml is not UTF-8 text: .* Save the file as UTF-8"),
        (b"train\0: x", r"data\.yaml is not valid YAML"),
    ],
)
def test_broken_yaml_is_named(yolo: DatasetConfig, content: bytes, message: str) -> None:
    Path(yolo.annotations).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(yolo, "train")


def test_paths_that_do_not_exist_are_named(yolo: DatasetConfig) -> None:
    for change, message in (
        ({"annotations": str(_root(yolo))}, r"--data\.val\.annotations: the file .* does not exist\. .*the data\.yaml"),
        (
            {"annotations": yolo.annotations, "images": "/no/such"},
            r"--data\.val\.images: the folder /no/such does not exist",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            open_dataset(DatasetConfig(format="yolo", **change), "val")


def test_missing_folder_of_labels_is_told_with_the_path_looked_for(yolo: DatasetConfig) -> None:
    (_root(yolo) / "labels").rename(_root(yolo) / "annotations")
    told = r"NONE of the 4 images has a label file, so there are no objects; the first file would be /.*train/b\.txt"
    with pytest.raises(DataError, match=rf"none of the 4 training images has a box .*data\.yaml\).*{told}"):
        open_dataset(yolo, "train")
    assert any("the only image has no label file" in warning for warning in open_dataset(yolo, "val").warnings)


def test_missing_images_of_a_list_are_told_with_the_lines_to_remove(yolo: DatasetConfig, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(f"{tmp_path}/images/train/b.jpg\n{tmp_path}/images/train/gone.jpg\n")
    config = _write_yaml(tmp_path, train="train.txt")
    told = r"gone\.jpg \(line 2\)\. Restore the files, or remove these lines from /.*/train\.txt\.$"
    with pytest.raises(DataError, match=told):
        open_dataset(config, "train")


def test_missing_image_of_a_list_is_no_background(yolo: DatasetConfig, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("images/train/b.jpg\nimages/train/gone.jpg\n")
    errors = ErrorHandler(collect=True)
    dataset = open_dataset(_write_yaml(tmp_path, train="train.txt"), "train", errors=errors)
    assert _names(dataset) == ["b.jpg"]
    assert [error.kind for error in errors.collected] == ["missing image files"]
    assert not errors.remarks
    (tmp_path / "train.txt").write_text("images/train/gone.jpg\n")
    with pytest.raises(DataError, match="names 1 of 1 image files"):
        open_dataset(_write_yaml(tmp_path, train="train.txt"), "train", errors=ErrorHandler(collect=True))
