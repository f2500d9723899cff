"""A dataset gives the same records in COCO, VOC and YOLO layout, alone and joined."""

import json
from pathlib import Path

import cv2
import numpy as np

from yolox_jax.config import DataConfig, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.sources import open_datasets


def _write_three_ways(root: Path) -> dict[str, DatasetConfig]:
    """The same images and boxes as COCO, VOC and YOLO."""
    rng = np.random.default_rng(3)
    names, coco = ("bird", "cat"), {"images": [], "annotations": []}
    for folder in ("Annotations", "ImageSets/Main", "images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "JPEGImages").symlink_to(root / "images")
    for number in range(1, 9):
        height, width = (int(side) for side in rng.integers(30, 90, 2))
        cv2.imwrite(str(root / f"images/{number}.jpg"), np.zeros((height, width, 3), np.uint8))
        coco["images"].append({"id": number, "file_name": f"{number}.jpg", "height": height, "width": width})
        lines, objects = [], ""
        for label in rng.integers(0, 2, number % 4).tolist():
            x, y = rng.uniform(0, 20, 2).round(2).tolist()
            w, h = rng.uniform(1, 10, 2).round(2).tolist()
            coco["annotations"].append(
                {"id": len(coco["annotations"]) + 1, "image_id": number, "category_id": label + 1, "bbox": [x, y, w, h]}
            )
            lines.append(f"{label} {(x + w / 2) / width!r} {(y + h / 2) / height!r} {w / width!r} {h / height!r}")
            objects += (
                f"<object><name>{names[label]}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
                f"<xmax>{x + w!r}</xmax><ymax>{y + h!r}</ymax></bndbox></object>"
            )
        (root / f"labels/{number}.txt").write_text("\n".join(lines))
        (root / f"Annotations/{number}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"
        )
    coco["categories"] = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    (root / "coco.json").write_text(json.dumps(coco))
    (root / "data.yaml").write_text(f"train: images\nnames: [{', '.join(names)}]\n")
    (root / "ImageSets/Main/train.txt").write_text("\n".join(map(str, range(1, 9))))
    return {
        "coco": DatasetConfig(images=str(root / "images"), annotations=str(root / "coco.json")),
        "voc": DatasetConfig(format="voc", images=str(root)),
        "yolo": DatasetConfig(format="yolo", annotations=str(root / "data.yaml")),
    }


def test_the_same_data_in_each_format_gives_the_same_records(tmp_path: Path) -> None:
    coco, voc, yolo = (open_dataset(config, "train") for config in _write_three_ways(tmp_path).values())
    assert sum(len(record.boxes) for record in coco.records) == 12
    for other in (voc, yolo):
        assert other.class_names == coco.class_names
        for ours, theirs in zip(other.records, coco.records, strict=True):
            assert (ours.path.name, ours.image_id) == (theirs.path.name, theirs.image_id)
            assert (ours.height, ours.width) == (theirs.height, theirs.width)
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
            np.testing.assert_array_equal(ours.classes, theirs.classes)


def test_formats_can_be_joined(tmp_path: Path) -> None:
    coco, voc, yolo = _write_three_ways(tmp_path).values()
    joined = open_datasets(DataConfig(train=yolo, more_train=(coco, voc)), "train")
    assert joined.class_names == ("bird", "cat") and joined.category_ids == (0, 1)
    assert len({record.image_id for record in joined.records}) == 24
    boxes = [np.concatenate([record.boxes for record in joined.records[start : start + 8]]) for start in (0, 8, 16)]
    np.testing.assert_array_equal(boxes[0], boxes[1])
    np.testing.assert_array_equal(boxes[0], boxes[2])
