"""The dataset check finds every fault, says where it is, and reports nothing for valid data."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bad_datasets import EXPECTED, GOOD, HEIGHT, WIDTH, CocoWriter, encoded, write_bad_coco, write_good_coco
from yolox_jax.config import AugmentConfig, DataConfig, DatasetConfig
from yolox_jax.data.dataset import DataError
from yolox_jax.data.doctor.annotations import cheap_findings
from yolox_jax.data.doctor.examine import Report, examine
from yolox_jax.data.doctor.finding import Finding
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes


def check(config: DataConfig, *, quick: bool = False) -> Report:
    return examine(config, quick=quick, on_progress=lambda done, total: None)


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def texts(findings: tuple[Finding, ...], level: str, kind: str) -> str:
    return "\n".join(case.text for f in findings if (f.level, f.kind) == (level, kind) for case in f.cases)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataConfig, Report]:
    config = write_bad_coco(tmp_path_factory.mktemp("bad"))
    return config, check(config)


@pytest.mark.parametrize(("level", "kind", "text"), EXPECTED)
def test_every_planted_error_is_found_and_named(
    bad: tuple[DataConfig, Report], level: str, kind: str, text: str
) -> None:
    assert text in texts(bad[1].findings, level, kind)


def test_nothing_but_the_planted_errors_is_found(bad: tuple[DataConfig, Report]) -> None:
    # Notes say what is, and may say it of anything.
    found = {(f.level, f.kind) for f in bad[1].findings if f.level != "note"}
    assert found == {(level, kind) for level, kind, _ in EXPECTED if level != "note"}
    planted = [kind for _, kind, _ in EXPECTED]
    for finding in bad[1].findings:
        if finding.level != "note" and "partly outside" not in finding.kind:
            assert finding.count == planted.count(finding.kind), finding


def test_training_stops_at_each_error_and_at_no_warning(bad: tuple[DataConfig, Report]) -> None:
    config, report = bad
    assert len(report.reasons_to_fail) == len([f for f in report.findings if f.level == "error"]) == 13
    with pytest.raises(DataError):
        open_datasets(config, "train")


def test_all_findings_say_what_to_do(bad: tuple[DataConfig, Report]) -> None:
    assert all(len(finding.advice) > 20 and finding.cases for finding in bad[1].findings)


def test_quick_check_finds_sizes_but_opens_no_image(bad: tuple[DataConfig, Report]) -> None:
    config, thorough = bad
    quick = check(config, quick=True)
    assert kinds(thorough) - kinds(quick) == {
        "duplicate images",
        "leakage: identical images in train and val",
    }
    sizes = texts(quick.findings, "warning", "images of another size than annotated")
    assert "resized.jpg" in sizes
    assert "turned.jpg" in sizes


def test_images_that_stop_a_training_are_errors(tmp_path: Path) -> None:
    config = write_good_coco(tmp_path)
    (tmp_path / "images" / "2.jpg").write_bytes(b"")
    assert check(config).reasons_to_fail == ()
    assert check(dataclasses.replace(config, broken_images="stop")).reasons_to_fail == (
        "images that cannot be read (train)",
    )
    for key in (1, 3, 4):
        (tmp_path / "images" / f"{key}.jpg").write_bytes(b"")
    assert check(config).reasons_to_fail == ("images that cannot be read (train)",)


def test_valid_data_has_no_findings(tmp_path: Path) -> None:
    assert check(write_good_coco(tmp_path)).findings == ()


def test_fixture_of_the_other_tests_has_nothing_worse_than_notes(
    coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]
) -> None:
    dataset = write_coco(coco_content)
    report = check(DataConfig(train=dataset, val=dataset))
    assert [f.kind for f in report.findings if f.level != "note"] == ["leakage: same image files in train and val"]


def test_generated_shapes_have_nothing_worse_than_notes(tmp_path: Path) -> None:
    generate_shapes(tmp_path / "shapes", num_train=40, num_val=20)
    shapes = DatasetConfig(format="shapes", images=str(tmp_path / "shapes"))
    report = check(DataConfig(train=shapes, val=shapes, input_size=(256, 256)))
    assert [f.kind for f in report.findings if f.level != "note"] == []
    assert report.statistics["train"].images == 40
    assert sum(report.statistics["train"].sizes.values()) == report.statistics["train"].boxes


def test_errors_of_an_image_entry_are_not_blamed_on_its_annotations(tmp_path: Path) -> None:
    writer = CocoWriter(tmp_path, "train", {1: "cat"})
    writer.image(1, "a.jpg", encoded(1), GOOD)
    writer.image(2, "b.jpg", encoded(2), GOOD, width=-1)
    config = write_good_coco(tmp_path / "good")
    report = check(dataclasses.replace(config, train=writer.write()))
    assert kinds(report) == {"images without a size"}


def test_annotations_that_are_no_json_leave_the_other_split_to_be_checked(tmp_path: Path) -> None:
    config = write_bad_coco(tmp_path)
    Path(config.train.annotations).write_text('{"images": [')
    report = check(config)
    assert report.reasons_to_fail == ("invalid JSON (train)",)
    assert "line 1, column 13" in texts(report.findings, "error", "invalid JSON")
    assert list(report.statistics) == ["val"]


@pytest.mark.parametrize("boxes", [(), ([500, 500, 9, 9],)])
def test_training_split_without_boxes_is_an_error(tmp_path: Path, boxes: tuple) -> None:
    config = write_good_coco(tmp_path / "good")
    writer = CocoWriter(tmp_path, "train", {1: "cat"})
    writer.image(1, "a.jpg", encoded(1), *boxes)
    report = check(dataclasses.replace(config, train=writer.write()))
    assert report.reasons_to_fail == ("no boxes (train)",)
    assert report.statistics["train"].images == 1


def test_splits_without_images_are_errors(tmp_path: Path) -> None:
    empty = CocoWriter(tmp_path, "train", {1: "cat"}).write()
    report = check(DataConfig(train=empty, val=empty))
    assert report.reasons_to_fail == ("no images (train)", "no images (val)")


def test_single_pixel_and_unicode_and_overlong_names(tmp_path: Path) -> None:
    config = write_good_coco(tmp_path / "good")
    writer = CocoWriter(tmp_path, "train", {1: "Käfer 🐞"})
    writer.image(1, "a.jpg", encoded(1), GOOD)
    writer.image(
        2, "日本 ü.png", cv2.imencode(".png", np.zeros((1, 1, 3)))[1].tobytes(), [0, 0, 1, 1], height=1, width=1
    )
    writer.image(3, "x" * 300 + ".jpg", None, GOOD)
    val = dataclasses.replace(config.val)
    report = check(DataConfig(train=writer.write(), val=val, input_size=(64, 64)))
    assert report.reasons_to_fail == ("missing image files (train)", "different class lists (train and val)")
    assert not {"images that cannot be read", "images of another size than annotated"} & kinds(report)


@pytest.mark.parametrize(("overhang", "level"), [(1, "note"), (2, "warning")])
def test_box_that_reaches_a_px_over_its_image_is_no_error(tmp_path: Path, overhang: int, level: str) -> None:
    config = write_good_coco(tmp_path)
    writer = CocoWriter(tmp_path, "train", {1: "cat"})
    writer.image(1, "1.jpg", encoded(1), [WIDTH - 20, 30, 20 + overhang, 40])
    (finding,) = check(dataclasses.replace(config, train=writer.write())).findings
    assert (finding.kind, finding.level) == ("boxes partly outside their image", level)


def test_cheap_findings_are_those_of_the_full_check(tmp_path: Path) -> None:
    config = write_bad_coco(tmp_path)
    config = dataclasses.replace(config, train=config.val, augment=AugmentConfig(min_final_side_px=30.0))
    found = cheap_findings(open_datasets(config, "train"), open_datasets(config, "val"), config)
    assert {f.kind: f.count for f in found} == {
        "boxes too small to train on": 2,
        "classes without any box": 2,
        "leakage: same image files in train and val": 2,
    }
    assert (
        found[-1].sentence().startswith("train and val: leakage: same image files in train and val: 2 (for example /")
    )


@pytest.mark.parametrize(("num_marked", "level"), [(1, "note"), (2, "warning")])
@pytest.mark.parametrize(
    ("mark", "kind"), [("iscrowd", "crowds (iscrowd: 1)"), ("ignore", "annotations to be ignored (ignore: 1)")]
)
def test_annotations_that_are_not_trained_on_are_counted(
    tmp_path: Path, num_marked: int, level: str, mark: str, kind: str
) -> None:
    config = write_good_coco(tmp_path, num_images=12)
    writer = CocoWriter(tmp_path, "train", {1: "cat"})
    for key in range(1, 13):
        writer.image(key, f"{key}.jpg", None, GOOD)
    for entry in writer.content["annotations"][:num_marked]:
        entry[mark] = 1
    config = dataclasses.replace(config, train=writer.write())
    (finding,) = (finding for finding in check(config).findings if finding.kind == kind)
    assert (finding.level, finding.splits, finding.count) == (level, ("train",), num_marked)
    assert finding.cases[0].text.endswith("1.jpg: cat from (40, 30) to (70, 70)")
    assert finding.cases[0].boxes_xyxy == ((40, 30, 70, 70),)


@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_rare_classes_are_counted_with_the_settings_that_answer_it(tmp_path: Path, threshold: float) -> None:
    config = dataclasses.replace(write_good_coco(tmp_path, num_images=12), repeat_threshold=threshold)
    writer = CocoWriter(tmp_path, "train", {1: "cat", 2: "dog"})
    for key in range(1, 13):
        writer.image(key, f"{key}.jpg", None, GOOD)
    writer.annotation(100, 3, [5, 5, 20, 20], category_id=2)
    findings = check(dataclasses.replace(config, train=writer.write())).findings
    (finding,) = (finding for finding in findings if finding.kind == "rare classes")
    assert (finding.level, finding.splits) == ("note", ("train",))
    assert [case.text for case in finding.cases] == ["dog: 1 image, 1/12 of cat (12 images)"]
    # sqrt(1/12 * 12/12) = 0.29, which gives the dog sqrt(0.3 * 12) = 1.9; 0.2 gives it 1.5.
    assert f"--data.repeat-threshold {threshold or 0.3:g}" in finding.advice
    assert f"up to {'1.5' if threshold else '1.9'} times: it has 13 images, not 12." in finding.advice
    # 12 cats to one dog, but --loss.balanced-limit is 10.
    assert ("--loss.class-weights balanced, which gives their objects up to 10 times" in finding.advice) != threshold


def test_class_all_of_whose_objects_are_crowds_is_told_so(tmp_path: Path) -> None:
    splits = []
    for name in ("train", "val"):
        writer = CocoWriter(tmp_path, name, {1: "cat", 2: "dog"})
        writer.image(1, f"{name}.jpg", encoded(len(name)), GOOD)
        writer.annotation(5, 1, GOOD, category_id=2, iscrowd=1)
        splits.append(writer.write())
    findings = check(DataConfig(train=splits[0], val=splits[1])).findings
    assert texts(findings, "warning", "classes without any box") == "dog (1 annotation left out as crowds or ignored)"


def test_training_split_of_crowds_alone_is_an_error_that_says_so(tmp_path: Path) -> None:
    config = write_good_coco(tmp_path / "good")
    writer = CocoWriter(tmp_path, "train", {1: "cat"})
    writer.image(1, "a.jpg", encoded(1))
    writer.annotation(5, 1, GOOD, iscrowd=1)
    report = check(dataclasses.replace(config, train=writer.write()))
    assert report.reasons_to_fail == ("no boxes (train)",)
    text = texts(report.findings, "error", "no boxes")
    assert text.startswith("the only training image has no box (--data.train.annotations /")
    assert "The only annotation is marked iscrowd: 1 (crowd)" in text


def test_what_is_read_as_meant_is_a_finding_of_the_splits_that_hold_it(tmp_path: Path) -> None:
    config = write_good_coco(tmp_path)
    writer = CocoWriter(tmp_path, "train", {1: "cat"})
    writer.image(1, "1.jpg", None, GOOD, height=str(HEIGHT))
    writer.image(2, "2.jpg", None, GOOD)
    writer.annotation(5, 2, [0, 0, 20, 20], iscrowd="0")
    writer.content["images"][1]["file_name"] = "images\\2.jpg"
    train = writer.write()
    found = {f.kind: (f.level, f.splits, f.count) for f in check(dataclasses.replace(config, train=train)).findings}
    kinds_found = ("numbers written as text", "flags written as text", "paths of another machine or folder")
    assert found == dict.fromkeys(kinds_found, ("warning", ("train",), 1))
    both = {f.kind: f.splits for f in check(DataConfig(train=train, val=train)).findings}
    assert both["numbers written as text"] == ("train", "val")


def test_validation_split_without_boxes_is_a_warning(tmp_path: Path) -> None:
    config = write_good_coco(tmp_path)
    writer = CocoWriter(tmp_path, "val", {1: "cat"})
    writer.image(1, "101.jpg", None)
    findings = check(dataclasses.replace(config, val=writer.write())).findings
    text = texts(findings, "warning", "validation images without any box")
    assert text.startswith("the only validation image has no box (--data.val.annotations /")


OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
VOC_EXPECTED = [
    ("error", "invalid XML", "broken.xml is not valid XML: no element found: line 1"),
    ("error", "images without annotations", "lists 'unknown', but "),
    ("error", "images listed more than once", "train.txt lists a more than once"),
    ("error", "missing image files", "gone.xml: the file "),
    ("error", "boxes with NaN or infinity", "a.xml: object 0"),
    ("error", "boxes of negative size", "a.xml: object 1 (cat)"),
    ("error", "malformed numbers", "a.xml: object 2: bndbox/xmin must be a number; got 'left'"),
    ("error", "objects without a name", "a.xml: object 3"),
    ("warning", "XML files without the size of the image", "flat.xml: the size of "),
    ("warning", "boxes without area", "object 5 of a.xml: from (5, 5) to (5, 9)"),
    ("warning", "boxes partly outside their image", "object 6 of a.xml"),
    ("warning", "duplicate boxes", "a.jpg: cat from (10, 10) to (40, 40)"),
    ("warning", "images that cannot be read", "damaged.jpg is not an image"),
    ("warning", "leakage: same image files in train and val", "good.jpg"),
]


def _write_voc(root: Path) -> DataConfig:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    good = ("cat", 10, 10, 40, 40)
    spoiled = [("cat", "nan", 1, 2, 3), ("cat", 9, 1, 2, 3), ("cat", "left", 1, 2, 3), ("", 1, 1, 2, 3)]
    objects = {name: [good] for name in ("good", "gone", "flat", "damaged")}
    objects["a"] = [*spoiled, good, ("cat", 5, 5, 5, 9), ("cat", 50, 50, 200, 70), good]
    for number, (stem, entries) in enumerate(objects.items()):
        size = (0, 0) if stem == "flat" else (WIDTH, HEIGHT)
        body = "".join(OBJECT.format(*entry) for entry in entries)
        (root / "Annotations" / f"{stem}.xml").write_text(
            "<annotation><size><width>{}</width><height>{}</height></size>{}</annotation>".format(*size, body)
        )
        if stem != "gone":
            (root / "JPEGImages" / f"{stem}.jpg").write_bytes(b"text" if stem == "damaged" else encoded(number))
    (root / "Annotations/broken.xml").write_text("<annotation><size>")
    (root / "ImageSets/Main/train.txt").write_text("\n".join([*objects, "a", "broken", "unknown"]))
    (root / "ImageSets/Main/val.txt").write_text("good")
    voc = DatasetConfig(format="voc", images=str(root))
    return DataConfig(train=voc, val=voc, input_size=(HEIGHT, WIDTH))


def test_errors_of_voc_are_found_named_and_nothing_else(tmp_path: Path) -> None:
    report = check(_write_voc(tmp_path))
    for level, kind, text in VOC_EXPECTED:
        assert text in texts(report.findings, level, kind)
    assert {(f.level, f.kind) for f in report.findings if f.level != "note"} == {entry[:2] for entry in VOC_EXPECTED}
    assert all(f.count == 1 for f in report.findings if f.level == "error")


def test_difficult_objects_that_are_left_out_are_counted(tmp_path: Path) -> None:
    config = _write_voc(tmp_path)
    path = tmp_path / "Annotations" / "good.xml"
    path.write_text(path.read_text().replace("</object>", "<difficult>1</difficult></object>"))
    config = dataclasses.replace(config, val=dataclasses.replace(config.val, difficult="ignore"))
    (finding,) = (f for f in check(config).findings if f.kind == "difficult objects and crowds")
    assert (finding.splits, finding.count) == (("val",), 1)
    assert "--data.val.difficult" in finding.advice
    both = dataclasses.replace(config, val=config.train, more_val=(config.val,), classes=("cat",))
    (finding,) = (f for f in check(both).findings if f.kind == "difficult objects and crowds")
    assert (finding.splits, finding.count) == (("val",), 1)


def test_blood_cells_have_two_boxes_without_area_and_no_other_fault(shared: Path) -> None:
    data = {
        split: DatasetConfig(format="voc", images=str(shared / "data" / "bccd"), split=split)
        for split in ("train", "val")
    }
    report = check(DataConfig(**data, input_size=(320, 320)), quick=True)
    found = [(f.level, f.kind, f.splits, f.cases[0].text.split(":")[0]) for f in report.findings]
    assert found == [
        ("warning", "boxes without area", ("train",), "object 3 of BloodImage_00343.xml"),
        ("warning", "boxes without area", ("val",), "object 12 of BloodImage_00338.xml"),
    ]


def test_photographs_of_coco_have_no_faults_of_their_own(shared: Path) -> None:
    root = shared / "data" / "coco_val2017_100"
    dataset = DatasetConfig(images=str(root / "images"), annotations=str(root / "instances.json"))
    report = check(DataConfig(train=dataset, val=dataset))
    assert {f.kind for f in report.findings if f.level != "note"} == {
        "classes without any box",
        "leakage: same image files in train and val",
    }
