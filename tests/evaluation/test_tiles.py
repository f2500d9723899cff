import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from scored_sets import make_dataset
from yolox_jax.config import AssignmentConfig, EvaluationConfig, LossConfig, ModelConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image import BrokenImage
from yolox_jax.evaluation.runner import evaluate_detector
from yolox_jax.evaluation.tiles import cut_objects
from yolox_jax.evaluation.validation_loss import ValidationLoss
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.tiles import Tiling
from yolox_jax.models import create_model

CONFIG = EvaluationConfig(batch_size=2, score_threshold=1e-9, max_detections=5)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Images of noise, two larger than a tile of 64 px, with one object each."""
    rng = np.random.default_rng(0)
    dataset = make_dataset({number: [(0, [5, 5, 20, 30])] for number in (7, 3, 5, 9)})
    records = []
    for record, (height, width) in zip(dataset.records, ((128, 128), (64, 64), (64, 192), (64, 64)), strict=True):
        path = tmp_path / f"{record.image_id}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (height, width, 3), np.uint8))
        boxes, classes = np.array([[5, 5, 25, 8 * len(records) + 30]], np.float32), np.zeros(1, np.int32)
        records.append(dataclasses.replace(record, path=path, height=height, width=width, boxes=boxes, classes=classes))
    # The network, shapes and settings are those of test_runner.py, so that the programs are compiled once.
    return dataclasses.replace(dataset, records=tuple(records), class_names=("cat", "dog"), category_ids=(3, 7))


@pytest.fixture(scope="module")
def model():
    return create_model("yolox_nano", 2)


def detector_of(model, dataset, **settings) -> Detector:
    return Detector(model=model, class_names=dataset.class_names, input_size=(64, 64), **settings)


def test_evaluation_scores_what_a_detector_with_tiles_finds(model, dataset):
    detector = detector_of(
        model, dataset, tile=64, score_threshold=1e-9, iou_threshold=0.65, max_detections=5, batch_size=2
    )
    progress: list[tuple[int, int]] = []
    evaluation = evaluate_detector(detector, dataset, CONFIG, on_progress=lambda *counts: progress.append(counts))
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert evaluation.image_ids == [7, 3, 5, 9]
    for record in dataset.records:
        own = [result for result in evaluation.results if result["image_id"] == record.image_id]
        expected = detector(record.path).to_coco(record.image_id, list(dataset.category_ids))
        assert [result["category_id"] for result in own] == [result["category_id"] for result in expected]
        np.testing.assert_allclose(
            [result["bbox"] for result in own], [result["bbox"] for result in expected], atol=1e-2
        )


def test_losses_are_those_of_the_whole_images(model, dataset):
    loss = ValidationLoss(dataset, LossConfig(), AssignmentConfig(), ModelConfig())
    tiled = evaluate_detector(detector_of(model, dataset, tile=64), dataset, CONFIG, loss=loss)
    whole = evaluate_detector(detector_of(model, dataset), dataset, CONFIG, loss=loss)
    assert tiled.losses == pytest.approx(whole.losses, rel=1e-5)
    assert tiled.results != whole.results


def test_a_broken_image_is_left_out_or_stops_the_evaluation(model, dataset, caplog):
    dataset.records[0].path.write_bytes(b"no image")
    detector = detector_of(model, dataset, tile=64)
    evaluation = evaluate_detector(detector, dataset, CONFIG)
    assert "7.png" in caplog.text and evaluation.image_ids == [3, 5, 9]
    with pytest.raises(BrokenImage, match=r"7\.png"):
        evaluate_detector(detector, dataset, CONFIG, broken_images="stop")


def with_sides(*sides: tuple[int, int], image_size: tuple[int, int] = (1000, 1000)) -> Dataset:
    """One image with objects of these classes and sides in px."""
    dataset = make_dataset({1: []})
    boxes = np.array([[0, 0, side, side] for _, side in sides], np.float32).reshape(-1, 4)
    record = dataclasses.replace(
        dataset.records[0],
        height=image_size[0],
        width=image_size[1],
        boxes=boxes,
        classes=np.array([label for label, _ in sides], np.int32),
    )
    return dataclasses.replace(dataset, records=(record,))


def test_classes_whose_median_object_tiles_can_cut_are_named_with_the_overlap_that_would_do():
    dataset = with_sides((0, 10), (0, 30), (0, 90), (1, 41), (2, 150))
    warning = cut_objects(dataset, Tiling(100, 100, 0.2))
    assert warning is not None
    assert "larger than the overlap, 20 px" in warning and "owl (median 150 px; needs a larger --tile), dog" in warning
    assert "dog (median 41 px; --overlap 0.41 would do), cat (median 30 px; --overlap 0.3 would do)" in warning
    enough = cut_objects(dataset, Tiling(100, 100, 0.41))
    assert enough is not None and "dog" not in enough and "cat" not in enough
    assert cut_objects(dataset, Tiling(400, 400, 0.4)) is None


def test_only_sides_along_which_images_are_cut_count():
    objects = with_sides((0, 90), image_size=(100, 1000))
    assert cut_objects(objects, Tiling(1000, 1000, 0.0)) is None
    assert "cat (median 90 px; needs a larger --tile)" in str(cut_objects(objects, Tiling(100, 100, 0.2)))
    assert cut_objects(with_sides(image_size=(1000, 1000)), Tiling(100, 100, 0.0)) is None
