"""The forms in which detections leave."""

import json

import numpy as np
import pytest

from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.unpacking import no_detections

FOUND = ImageDetections(
    boxes=np.array([[10.0, 20.0, 110.5, 70.0], [-3.0, 0.0, 5.0, 8.0]], np.float32),
    scores=np.array([0.9, 0.25], np.float32),
    classes=np.array([1, 0], np.int32),
    class_names=("traffic light", "car"),
    image_size=(100, 200),
)


def test_coco_results_hold_sides_and_the_ids_of_the_categories():
    first, second = FOUND.to_coco(7, category_ids=[3, 10])
    assert first == {"image_id": 7, "category_id": 10, "bbox": [10, 20, 100.5, 50], "score": pytest.approx(0.9)}
    assert (second["category_id"], second["bbox"]) == (3, [-3, 0, 8, 8])
    assert [row["category_id"] for row in FOUND.to_coco("a")] == [1, 0]
    json.dumps(FOUND.to_coco(7))


def test_dicts_are_plain_values():
    assert json.loads(json.dumps(FOUND.to_dicts()))[1] == {
        "class": "car",
        "class_index": 0,
        "score": 0.25,
        "box_xyxy": [-3, 0, 5, 8],
    }


def test_printed_it_is_a_table_with_a_line_for_each():
    lines = str(FOUND).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["class", "score", "x1", "y1", "x2", "y2"]
    assert lines[1].startswith("traffic light")
    assert lines[1].split()[2:] == ["0.900", "10.0", "20.0", "110.5", "70.0"]
    assert len({len(line) for line in lines}) == 1, "the columns stand under each other"
    assert str(no_detections("a.jpg is an empty file")) == "a.jpg is an empty file"


def test_supervision_takes_them():
    supervision = pytest.importorskip("supervision")
    found = FOUND.to_supervision()
    assert isinstance(found, supervision.Detections)
    np.testing.assert_allclose(found.xyxy, FOUND.boxes)
    assert found.data["class_name"].tolist() == ["traffic light", "car"]
