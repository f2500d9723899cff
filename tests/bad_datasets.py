"""Datasets with every kind of fault that a check must find."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_jax.config import DataConfig, DatasetConfig

HEIGHT, WIDTH = 96, 128


def encoded(seed: int, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """A JPEG of coarse noise; every seed gives another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (width, height)))[1].tobytes()


def turned(jpeg: bytes, orientation: int = 6) -> bytes:
    """The JPEG with an EXIF orientation; with 6, programs show it turned by 90 degrees."""
    entry = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">I", 8) + entry + struct.pack(">I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


class CocoWriter:
    """Writes images and collects their annotations."""

    def __init__(self, folder: Path, name: str, categories: dict[int, str]) -> None:
        self.images, self.file = folder / "images", folder / f"{name}.json"
        self.images.mkdir(parents=True, exist_ok=True)
        self.content: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": key, "name": category} for key, category in categories.items()],
        }

    def image(self, key: int, name: str, content: bytes | None, *boxes: Any, category: int = 1, **changes: Any) -> None:
        """An image of `HEIGHT` by `WIDTH` px with its boxes, whose ids are 100 times its own and their number."""
        if content is not None:
            (self.images / name).write_bytes(content)
        entry = {"id": key, "file_name": name, "height": HEIGHT, "width": WIDTH, **changes}
        self.content["images"].append({field: value for field, value in entry.items() if value is not None})
        for number, box in enumerate(boxes):
            self.annotation(100 * key + number, key, box, category_id=category)

    def annotation(self, key: int, image: int, box: Any, **changes: Any) -> None:
        entry = {"id": key, "image_id": image, "category_id": 1, "bbox": box, "area": 100, "iscrowd": 0}
        self.content["annotations"].append(entry | changes)

    def write(self) -> DatasetConfig:
        self.file.write_text(json.dumps(self.content))
        return DatasetConfig(images=str(self.images), annotations=str(self.file))


GOOD = [40, 30, 30, 40]
"""A box with nothing wrong."""
EXPECTED = [
    ("error", "missing image files", "gone.jpg"),
    ("error", "boxes with NaN or infinity", "annotation id 1000"),
    ("error", "boxes with NaN or infinity", "annotation id 1001"),
    ("error", "boxes of negative size", "annotation id 1002"),
    ("error", "malformed boxes", "annotation id 1003"),
    ("error", "unknown category ids", "annotation id 1004"),
    ("error", "invalid areas", "annotation id 1005"),
    ("error", "unknown image ids", "annotation id 1006"),
    ("error", "duplicate image ids", "image id 10 appears twice"),
    ("error", "images without a size", "image id 17"),
    ("warning", "image entries without a size", "unsized.jpg is 128x96 px"),
    ("error", "malformed entries", "image id 18 has no file_name"),
    ("error", "categories of the same name", "category ids 1 and 5 are both named 'cat'"),
    ("error", "duplicate category ids", "categories[5]"),
    ("error", "different class lists", "have different classes: only train has cat."),
    ("warning", "images that cannot be read", "truncated.jpg is truncated"),
    ("warning", "images that cannot be read", "empty.jpg is an empty file"),
    ("warning", "images that cannot be read", "text.jpg is not an image"),
    ("warning", "images of another size than annotated", "resized.jpg is 64x48 px"),
    ("warning", "images of another size than annotated", "turned.jpg is 96x128 px"),
    ("warning", "duplicate images", "copy.jpg has the content of"),
    ("warning", "images listed more than once", "odd.jpg"),
    ("warning", "boxes without area", "annotation id 1100, odd.jpg"),
    ("warning", "boxes outside their image", "annotation id 1101, odd.jpg"),
    ("warning", "boxes partly outside their image", "annotation id 1102, odd.jpg"),
    ("warning", "duplicate boxes", "odd.jpg: cat from (40, 30) to (70, 70)"),
    ("warning", "boxes too small to train on", "odd.jpg: cat from (10, 10) to (10.4, 30)"),
    ("note", "boxes with a side below 8 px", "odd.jpg: cat from (20, 50) to (25, 58)"),
    ("warning", "boxes of extreme aspect ratio", "odd.jpg: cat from (10, 10) to (10.4, 30)"),
    ("warning", "duplicate annotation ids", "annotation id 1105, odd.jpg"),
    ("note", "annotations without an area", "annotation id 1106, odd.jpg"),
    ("warning", "images with more objects than --data.max-boxes 12", "crowded.jpg: 13 objects"),
    ("note", "images without objects", "background.jpg"),
    ("warning", "leakage: same image files in train and val", "shared.jpg"),
    ("warning", "leakage: identical images in train and val", "val.jpg (val) has the content of"),
    ("warning", "classes without any box", "eel"),
    ("warning", "classes with boxes only in val", "fox"),
    ("note", "classes with boxes only in train", "dog"),
]
"""Level, kind and a part of the text of all that is wrong with `write_bad_coco`."""


def write_bad_coco(folder: Path) -> DataConfig:
    """A training and a validation split with all faults in `EXPECTED`."""
    names = {1: "cat", 2: "dog", 3: "eel", 4: "fox"}
    train, val = CocoWriter(folder, "train", names), CocoWriter(folder, "val", names)
    train.content["categories"] += [{"id": 5, "name": "cat"}, {"id": 2, "name": "dogs"}]
    whole = encoded(0)
    train.image(1, "gone.jpg", None, GOOD)
    train.image(2, "truncated.jpg", whole[: len(whole) // 2], GOOD)
    train.image(3, "empty.jpg", b"", GOOD)
    train.image(4, "text.jpg", b"not found", GOOD)
    train.image(5, "resized.jpg", encoded(5, 48, 64), GOOD)
    train.image(6, "turned.jpg", turned(encoded(6)), GOOD)
    train.image(7, "plain.jpg", encoded(7), GOOD, category=2)
    train.image(8, "copy.jpg", encoded(7), GOOD)
    train.image(9, "background.jpg", encoded(9))
    train.image(10, "invalid.jpg", encoded(10), [1, math.nan, 3, 4], [1, 2, math.inf, 4], [9, 9, -3, 4], [1, 2, 3])
    train.annotation(1004, 10, GOOD, category_id=77)
    train.annotation(1005, 10, GOOD, area=math.nan)
    train.annotation(1006, 999, GOOD)
    train.image(10, "other.jpg", None)
    odd = [[5, 5, 0, 10], [300, 300, 10, 10], [100, 30, 60, 40], GOOD, GOOD, [10, 10, 0.4, 20], [20, 50, 5, 8]]
    train.image(11, "odd.jpg", encoded(11), *odd)
    train.content["annotations"][-1]["area"] = 0
    train.annotation(1105, 11, [60, 2, 20, 20])
    train.image(12, "odd.jpg", encoded(11), GOOD)
    train.image(13, "crowded.jpg", encoded(13), *[[8 * n, 20, 20, 20] for n in range(13)])
    for key in range(14, 17):
        train.image(key, f"{key}.jpg", encoded(key), *[[8 * n, 20, 20, 20] for n in range(10)])
    train.image(17, "flat.jpg", encoded(17), GOOD, height=-1)
    train.image(21, "unsized.jpg", encoded(21), GOOD, height=0)
    train.image(18, "nameless.jpg", encoded(18), GOOD, file_name=None)
    train.image(19, "shared.jpg", encoded(19), GOOD)
    train.image(20, "again.jpg", encoded(20), GOOD)
    train.annotation(2001, 20, [2, 2, 20, 20], category_id=5)
    val.image(1, "shared.jpg", encoded(19), GOOD)
    val.image(2, "val.jpg", encoded(20), GOOD, category=4)
    return DataConfig(train=train.write(), val=val.write(), input_size=(HEIGHT, WIDTH), max_boxes=12)


def write_good_coco(folder: Path, num_images: int = 4) -> DataConfig:
    """Two splits with nothing wrong."""
    splits = []
    for first, name in ((0, "train"), (100, "val")):
        writer = CocoWriter(folder, name, {1: "cat"})
        for key in range(first + 1, first + 1 + num_images):
            writer.image(key, f"{key}.jpg", encoded(key), GOOD)
        splits.append(writer.write())
    return DataConfig(train=splits[0], val=splits[1], input_size=(HEIGHT, WIDTH))
