"""Pascal VOC annotations: what is kept, what is refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scored_sets import score
from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.dataset import DataError, Dataset

OBJECT = (
    "<object><name>{}</name>{}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def _write(
    root: Path,
    stem: str,
    *objects: tuple[str, float | str, float, float, float],
    ending: str = ".jpg",
    tags: str = "<difficult>0</difficult>",
) -> None:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    body = "".join(OBJECT.format(name, tags, *box) for name, *box in objects)
    (root / "Annotations" / f"{stem}.xml").write_text(
        f"<annotation><filename>other.jpg</filename><size><width>64</width><height>48</height></size>{body}</annotation>"
    )
    cv2.imwrite(str(root / "JPEGImages" / f"{stem}{ending}"), np.zeros((48, 64, 3), np.uint8))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    _write(tmp_path, "b", ("zebra", 10, 11, 30, 41), ("cat", 1, 1, 64, 48))
    _write(tmp_path, "a.1", ("cat", 5, 5, 9, 9), ending=".PNG")
    _write(tmp_path, "c", ("dog", 5, 5, 9, 9))
    (tmp_path / "ImageSets/Main/train.txt").write_text("b\na.1  1\n\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("c\n")
    return tmp_path


def _open(root: Path, split: str = "train", **settings: Any) -> Dataset:
    return open_dataset(DatasetConfig(format="voc", images=str(root), split=split, **settings), "train")


def test_corners_stand_as_written_and_splits_share_their_classes(voc: Path) -> None:
    dataset = _open(voc)
    assert dataset.class_names == ("cat", "dog", "zebra") == _open(voc, "val").class_names
    assert [record.path.name for record in dataset.records] == ["b.jpg", "a.1.PNG"]
    np.testing.assert_array_equal(dataset.records[0].boxes, [[10, 11, 30, 41], [1, 1, 64, 48]])
    assert dataset.records[0].classes.tolist() == [2, 0]
    truth = dataset.ground_truth["annotations"][0]
    assert truth == {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 11, 20, 30], "area": 600, "iscrowd": 0}


def test_split_defaults_to_the_use(voc: Path) -> None:
    config = DatasetConfig(format="voc", images=str(voc))
    assert [record.path.stem for record in open_dataset(config, "val").records] == ["c"]


@pytest.mark.parametrize(("tags", "difficult"), [("<difficult>1</difficult>", 2), ("", 0), ("<difficult/>", 0)])
def test_difficult_objects_are_used_or_ignored_as_asked_for(voc: Path, tags: str, difficult: int) -> None:
    _write(voc, "b", ("zebra", 10, 11, 30, 41), ("cat", 1, 1, 64, 48), tags=tags)
    used, left_out = _open(voc), _open(voc, difficult="ignore")
    assert [len(record.boxes) for record in used.records] == [2, 1]
    assert all(entry["iscrowd"] == 0 for entry in used.ground_truth["annotations"])
    assert left_out.class_names == used.class_names
    assert [len(record.boxes) for record in left_out.records] == [2 - difficult, 1]
    boxes = [sorted(entry["bbox"] for entry in data.ground_truth["annotations"]) for data in (used, left_out)]
    assert boxes[0] == boxes[1]
    assert sum(entry["iscrowd"] for entry in left_out.ground_truth["annotations"]) == difficult


def test_detections_of_ignored_objects_count_neither_for_nor_against(voc: Path) -> None:
    _write(voc, "b", ("cat", 1, 1, 64, 48), tags="<difficult>1</difficult>")
    dataset = _open(voc, difficult="ignore")
    hit = {"image_id": 2, "category_id": 1, "bbox": [5, 5, 4, 4], "score": 0.5}
    in_the_difficult = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 63, 47], "score": 0.9}
    assert score(dataset, [hit, in_the_difficult]).figures["AP"] == pytest.approx(1)
    assert score(_open(voc), [hit]).figures["AP"] < 0.6  # used, it is missed


def test_boxes_without_area_and_over_the_border_are_repaired_and_counted(voc: Path) -> None:
    _write(voc, "b", ("cat", 5, 5, 5, 9), ("cat", 5, 5, 70, 9))
    dataset = _open(voc)
    np.testing.assert_array_equal(dataset.records[0].boxes, [[5, 5, 64, 9]])
    assert "clipped 1 box to its image (first: object 1 of b.xml)" in dataset.warnings[0]
    assert "ignored 1 box without area in the image (first: object 0 of b.xml)" in dataset.warnings[1]
    assert len(dataset.ground_truth["annotations"]) == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("cat", "nan", 1, 2, 3), r"b\.xml: object 0: bndbox/xmin must be finite; got nan"),
        (("cat", "left", 1, 2, 3), r"b\.xml: object 0: bndbox/xmin must be a number; got 'left'"),
        (("cat", 9, 1, 2, 3), r"b\.xml: object 0 \(cat\): box .* xmax below xmin or ymax below ymin"),
        (("", 1, 1, 2, 3), r"b\.xml: object 0 has no name"),
    ],
)
def test_invalid_objects_are_refused_by_name(voc: Path, entry: tuple, message: str) -> None:
    _write(voc, "b", entry)
    with pytest.raises(DataError, match=message):
        _open(voc)


@pytest.mark.parametrize("content", ["<annotation><size>", "", "<?xml version='1.0' encoding='gbk'?><annotation>"])
def test_broken_xml_is_named(voc: Path, content: str) -> None:
    (voc / "Annotations/b.xml").write_text(content)
    with pytest.raises(DataError, match=r"b\.xml is not valid XML"):
        _open(voc)


def test_missing_image_and_missing_annotation_are_named(voc: Path) -> None:
    (voc / "JPEGImages/b.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 image files that do not exist: .*b\.\* \(b\.xml\)"):
        _open(voc)
    (voc / "Annotations/b.xml").unlink()
    with pytest.raises(DataError, match=r"train\.txt lists 1 image without an annotation file in .*Annotations: b"):
        _open(voc)


def test_settings_that_lead_nowhere_are_named(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--data\.train\.split is 'test', but .*Available splits: train, val"):
        _open(voc, "test")
    with pytest.raises(ConfigError, match=r"--data\.train\.images: .*JPEGImages has no folder Annotations"):
        _open(voc / "JPEGImages")


def test_empty_split_is_refused(voc: Path) -> None:
    (voc / "ImageSets/Main/train.txt").write_text("\n")
    with pytest.raises(DataError, match="no training images"):
        _open(voc)


def test_blood_cells_are_read(shared: Path) -> None:
    train, val = (_open(shared / "data" / "bccd", split) for split in ("train", "val"))
    assert (len(train.records), len(val.records)) == (205, 87)
    assert train.class_names == val.class_names == ("Platelets", "RBC", "WBC")
    assert "ignored 1 box without area in the image (first: object 3 of BloodImage_00343.xml)" in train.warnings[0]
    assert len(val.warnings) == 1
