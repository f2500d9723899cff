import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from reference import procedural
from yolox_jax.coco_names import COCO_NAMES
from yolox_jax.config import ConfigError
from yolox_jax.data.image import BrokenImage
from yolox_jax.detector import Detector
from yolox_jax.models import create_model
from yolox_jax.models.yolox import YOLOX
from yolox_jax.weights import export_state_dict, load_state_dict, save_weights

SIZE = (64, 96)
LOW = 1e-9
"""A score threshold that everything passes."""


def lively_model(seed: int) -> YOLOX:
    """A network whose scores differ from place to place, unlike those of a fresh one."""
    model = create_model("yolox_nano", 3)
    state_dict = {key: procedural.weight(key, value.shape, seed) for key, value in export_state_dict(model).items()}
    state_dict["backbone.backbone.stem.conv.conv.weight"] /= 100  # batch statistics are 0 and 1, pixels up to 255
    load_state_dict(model, state_dict)
    return model


@pytest.fixture(scope="module")
def model():
    return lively_model(seed=1)


@pytest.fixture(scope="module")
def detector(model):
    return Detector(
        model=model, class_names=["a", "b", "c"], input_size=SIZE, score_threshold=LOW, max_detections=20, batch_size=2
    )


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((48, 64), (200, 100), (64, 96))]


def _assert_same(first, second):
    np.testing.assert_array_equal(first.classes, second.classes)
    np.testing.assert_allclose(first.boxes, second.boxes, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-4)


def test_image_path_and_list_give_the_same_detections(detector, images, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), images[0])
    alone = detector(images[0])
    assert len(alone) == 20
    assert alone.class_names == tuple("abc"[index] for index in alone.classes)
    assert (np.diff(alone.scores) <= 0).all()
    _assert_same(detector(path), alone)
    _assert_same(detector(str(path)), alone)
    together = detector([images[0], path, images[2]])
    assert len(together) == 3
    _assert_same(together[0], alone)
    _assert_same(together[1], alone)


def test_an_empty_list_has_no_detections(detector):
    assert detector([]) == []


def test_boxes_are_in_px_of_the_image(detector, images):
    """An image enlarged twice has the boxes of the original, twice as large, once letterboxed to the same pixels."""
    image = images[2]
    enlarged = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(detector(enlarged).boxes[:5], 2 * detector(image).boxes[:5], rtol=1e-3, atol=1e-1)


def test_new_weights_change_detections_and_compile_nothing(model, images):
    detector = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20)
    before = detector(images[0])
    compiled = detector._detect._cache_size()
    detector.update(lively_model(seed=2))
    after = detector(images[0])
    assert detector._detect._cache_size() == compiled
    assert not np.allclose(before.scores, after.scores, rtol=1e-2)
    detector.update(model)
    _assert_same(detector(images[0]), before)


def test_other_thresholds_and_a_second_detector_compile_nothing(model, detector, images):
    detector(images)
    detector(images[0])
    compiled = detector._detect._cache_size()
    second = Detector(
        model=lively_model(seed=2), input_size=SIZE, score_threshold=0.9, iou_threshold=0.2, max_detections=20
    )
    assert len(second(images[0])) == 0
    batch = np.zeros((2, *SIZE, 3), np.uint8)
    detector.detect_batch(batch, np.ones(2, np.float32), score_threshold=0.5, iou_threshold=0.3)
    assert detector._detect._cache_size() == compiled


def test_update_refuses_another_network(detector):
    with pytest.raises(ValueError, match="3 classes.*yolox_nano with 4"):
        detector.update(create_model("yolox_nano", 4))


def test_weights_bring_variant_class_names_and_input_size(model, detector, images, tmp_path):
    path = tmp_path / "weights.safetensors"
    metadata = {
        "variant": "yolox_nano",
        "num_classes": "3",
        "class_names": json.dumps(["red", "green", "blue"]),
        "input_size": json.dumps(SIZE),
    }
    save_weights(path, export_state_dict(model), metadata)
    loaded = Detector(weights=path, score_threshold=LOW, max_detections=20)
    assert (loaded.variant, loaded.class_names, loaded.input_size) == ("yolox_nano", ("red", "green", "blue"), SIZE)
    _assert_same(loaded(images[0]), detector(images[0]))
    with pytest.raises(ConfigError, match=r"yolox_nano.*yolox_s"):
        Detector("yolox_s", weights=path)


def test_weights_without_metadata_have_numbered_classes_and_the_published_size(model, tmp_path):
    path = tmp_path / "weights.npz"
    save_weights(path, export_state_dict(model), {})
    loaded = Detector("yolox_nano", weights=path)
    assert loaded.class_names == ("class 0", "class 1", "class 2")
    assert loaded.input_size == (416, 416)


def test_eighty_classes_without_names_are_those_of_coco():
    assert Detector(model=create_model("yolox_nano")).class_names == COCO_NAMES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": (100, 96)}, "100.*multiples of 32"),
        ({"class_names": ["a"]}, "1 class names.*3 classes"),
        ({"score_threshold": 1.5}, "score threshold 1.5"),
        ({"iou_threshold": 0.0}, "IoU threshold 0.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"variant": "yolox_s"}, "yolox_nano.*yolox_s"),
    ],
)
def test_settings_that_cannot_work_are_named(model, settings, message):
    with pytest.raises(ConfigError, match=message):
        Detector(**{"model": model, "input_size": SIZE, **settings})


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((2, 10, 10, 3), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_bgr_images_are_refused(detector, image):
    with pytest.raises(ValueError, match="uint8 array"):
        detector(image)


def test_a_file_that_is_no_image_is_named(detector, tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(BrokenImage, match=r"text\.jpg"):
        detector(path)


def test_published_weights_find_the_objects_of_a_photograph(shared: Path):
    detector = Detector("yolox_nano", weights=shared / "weights/yolox_nano.pth")
    assert detector.input_size == (416, 416)
    found = detector(shared / "data/coco_val2017_100/images/000000000139.jpg")
    assert {"tv", "person", "chair"} <= set(found.class_names)
    # The first row of the reference for this image.
    np.testing.assert_allclose(found.boxes[0], [5.86, 165.78, 155.77, 264.61], atol=0.3)
    assert found.scores[0] == pytest.approx(0.8996, abs=2e-3)
