"""The forms in which detections leave."""

import dataclasses
import json

import cv2
import numpy as np
import PIL.Image
import pytest

from yolox_jax.config import ConfigError
from yolox_jax.inference.draw import class_colour, draw_detections
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.picture_files import PictureError
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


NAMES = ("car", "traffic light", "dog")


@pytest.fixture
def image():
    return np.full((100, 200, 3), 90, np.uint8)


def found_in(source):
    return dataclasses.replace(FOUND, all_class_names=NAMES, source=source)


def test_an_index_gives_one_detection_and_a_selection_several():
    first = FOUND[0]
    assert (first.class_name, first.class_index, first.score) == ("traffic light", 1, pytest.approx(0.9))
    np.testing.assert_array_equal(first.box, FOUND.boxes[0])
    assert FOUND[-1].class_name == FOUND[np.int64(1)].class_name == "car"
    assert [one.class_name for one in FOUND] == ["traffic light", "car"]
    for selection in (slice(1, None), FOUND.scores < 0.5, [1], (1,), np.array([1]), [False, True]):
        assert FOUND[selection].class_names == ("car",)
        np.testing.assert_array_equal(FOUND[selection].boxes, FOUND.boxes[1:])
        assert FOUND[selection].image_size == FOUND.image_size
    assert len(FOUND[:5]) == 2 and len(FOUND[[]]) == 0
    with pytest.raises(IndexError):
        FOUND[2]


def test_a_filter_takes_a_score_and_classes():
    found = found_in(None)
    assert found.filter(score=0.5).class_names == ("traffic light",)
    assert found.filter(classes=["car", 2]).class_names == found.filter(classes="car").class_names == ("car",)
    assert len(found.filter(score=0.5, classes=["car"])) == len(found.filter(classes=["dog"])) == 0
    with pytest.raises(ConfigError, match="did you mean 'dog'"):
        found.filter(classes=["dogs"])
    assert len(no_detections("broken").filter(classes=["dog"])) == 0


def test_counts_have_the_most_frequent_first():
    several = FOUND[[1, 0, 0]]
    assert list(several.counts().items()) == [("traffic light", 2), ("car", 1)]
    assert no_detections("broken").counts() == {}


def test_its_repr_says_what_was_found_and_where(image):
    assert repr(found_in("street.jpg")) == "ImageDetections(1 traffic light, 1 car in street.jpg, 200x100 px)"
    assert repr(found_in(image)[:0]) == "ImageDetections(no detections, 200x100 px)"
    assert repr(no_detections("a.jpg is empty")) == "ImageDetections(error='a.jpg is empty')"


@pytest.mark.parametrize("kind", ["array", "PIL", "path"])
def test_the_plot_is_the_image_with_its_boxes_in_bgr(image, tmp_path, kind):
    image[:, :, 0] = 200
    cv2.imwrite(str(tmp_path / "street.png"), image)
    source = {
        "array": image,
        "PIL": PIL.Image.fromarray(image[..., ::-1].copy()),
        "path": tmp_path / "street.png",
    }[kind]
    drawn = found_in(source).plot()
    expected = draw_detections(image, FOUND.boxes, FOUND.scores, FOUND.classes, all_class_names=NAMES)
    np.testing.assert_array_equal(drawn, expected)
    assert tuple(drawn[95, 150]) == (200, 90, 90), "the image itself, in BGR"
    np.testing.assert_array_equal(FOUND.plot(image), expected)  # made without the names of all classes
    found_in(source).save(tmp_path / "new" / "drawn.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "drawn.png")), expected)
    shown = cv2.imdecode(np.frombuffer(found_in(source)._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, expected)


def test_a_notebook_shows_large_images_reduced():
    large = dataclasses.replace(
        found_in(np.zeros((3072, 1536, 3), np.uint8))[:1],
        image_size=(3072, 1536),
        boxes=np.array([[600, 900, 1200, 2400]], np.float32),
    )
    shown = cv2.imdecode(np.frombuffer(large._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (1024, 512, 3)
    assert tuple(shown[500, 200]) == tuple(shown[800, 300]) == class_colour(1), "the box is reduced like the image"


def test_without_its_image_a_plot_says_what_to_pass(image, tmp_path):
    with pytest.raises(ValueError, match=r"found\.plot\(frame\.image\)"):
        found_in(None).plot()
    with pytest.raises(ValueError, match="200x100 px.*") as caught:
        found_in(image).plot(image[:50])
    assert "200x50 px" in str(caught.value)
    with pytest.raises(ValueError, match="a.jpg is empty"):
        no_detections("a.jpg is empty").plot()
    for source in (None, tmp_path / "gone.jpg", image[:50]):
        assert found_in(source)._repr_png_() is None
    with pytest.raises(PictureError, match="cannot be written as .xyz"):
        found_in(image).save(tmp_path / "a.xyz")
