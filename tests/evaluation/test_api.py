"""`yolox_jax.evaluate`: from a config and weights to figures, from Python."""

import dataclasses
import json
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

import yolox_jax
from yolox_jax.config import (
    AssignmentConfig,
    Config,
    ConfigError,
    DataConfig,
    DatasetConfig,
    EvaluationConfig,
    ModelConfig,
)
from yolox_jax.data.dataset import DataError
from yolox_jax.data.image import BrokenImage
from yolox_jax.evaluation import Evaluation
from yolox_jax.evaluation.coco import FIGURES
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights
from yolox_jax.weights.errors import WeightsError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Three images of noise with one object each, two classes."""
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (40, 60, 3), np.uint8))
    annotations = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 60} for n in range(3)],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [5, 5, 20, 30], "area": 600, "iscrowd": 0}
            for n in range(3)
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(annotations))
    return Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(val=DatasetConfig(images=str(tmp_path), annotations=str(path)), input_size=(64, 64)),
        evaluation=EvaluationConfig(batch_size=2, score_threshold=1e-9, max_detections=5),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, export_state_dict(create_model("yolox_nano", 2)), {"class_names": '["blue", "red"]'})
    return path


def test_figures_detections_and_losses_come_as_objects_and_warnings_through_the_log(config, weights, caplog, capfd):
    progress: list[tuple[int, int]] = []
    evaluation = yolox_jax.evaluate(config, weights=weights, on_progress=lambda *counts: progress.append(counts))
    assert isinstance(evaluation, Evaluation)
    assert set(evaluation.metrics.figures) == set(FIGURES)
    assert list(evaluation.metrics.per_class) == ["red", "blue"]
    assert [result["image_id"] for result in evaluation.results] == np.repeat(range(3), 5).tolist()
    assert evaluation.losses is not None and evaluation.losses["loss"] > 0
    assert progress == [(0, 3), (2, 3), (3, 3)]
    assert caplog.text.count("matched by name: their order differs") == 1
    assert capfd.readouterr() == ("", ""), "a library prints nothing"
    assert len(repr(evaluation)) < 2000, "not every detection"


def test_an_open_dataset_a_device_and_no_losses_can_be_asked_for(config, weights):
    from yolox_jax.evaluation import open_validation_data

    expected = yolox_jax.evaluate(config, weights=weights)
    dataset = open_validation_data(config.data)
    dataset = dataclasses.replace(dataset, records=dataset.records[:2])
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, losses=False))
    evaluation = yolox_jax.evaluate(config, weights=weights, dataset=dataset, devices=jax.local_devices()[:1])
    assert evaluation.results == expected.results[:10]
    assert evaluation.losses is None
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, classes=("blue",)))
    evaluation = yolox_jax.evaluate(config, weights=weights, dataset=dataset)
    assert list(evaluation.metrics.per_class) == ["blue"]
    assert {result["category_id"] for result in evaluation.results} == {2}


def test_what_goes_wrong_is_raised_as_an_error_of_its_kind(config, weights, tmp_path):
    def with_data(**changes):
        return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))

    with pytest.raises(ConfigError, match="yolox_tiny"):
        yolox_jax.evaluate(dataclasses.replace(config, model=ModelConfig(variant="yolox_tiny")), weights=weights)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        yolox_jax.evaluate(config, weights=tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.pth"):
        yolox_jax.evaluate(config, weights=tmp_path / "text.pth")
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(BrokenImage, match=r"1\.png"):
        yolox_jax.evaluate(with_data(broken_images="stop"), weights=weights)
    (tmp_path / "instances.json").write_text("[{")
    with pytest.raises(DataError, match=r"instances\.json"):
        yolox_jax.evaluate(config, weights=weights)


def test_weights_of_an_end_to_end_network_are_scored_without_suppression(config, tmp_path):
    network = ModelConfig(variant="yolox_nano", end_to_end=True)
    path = tmp_path / "weights.safetensors"
    save_weights(path, export_state_dict(create_model(network, 2)), {"class_names": '["red", "blue"]'})
    with pytest.raises(ConfigError, match="2 classes, an end-to-end branch, but .* Pass --model.end-to-end True"):
        yolox_jax.evaluate(config, weights=path)
    settings = dataclasses.replace(config.evaluation, losses=False, nms=False)
    evaluation = yolox_jax.evaluate(dataclasses.replace(config, model=network, evaluation=settings), weights=path)
    assert len(evaluation.results) == 15


def test_losses_of_a_rule_that_needs_anchor_boxes_are_refused_without_them(config, weights):
    yolov3 = dataclasses.replace(config, assignment=AssignmentConfig(rule="yolov3"))
    with pytest.raises(ConfigError, match="--assignment.rule yolov3 needs anchor boxes"):
        yolox_jax.evaluate(yolov3, weights=weights)


def test_weights_with_anchor_boxes_need_those_of_the_config(config, tmp_path):
    anchors = ((10.0, 10.0), (30.0, 30.0), (60.0, 60.0))
    network = ModelConfig(variant="yolox_nano", head="coupled", anchors=anchors)
    path = tmp_path / "weights.safetensors"
    metadata = {"class_names": '["red", "blue"]', "anchors": json.dumps(anchors)}
    save_weights(path, export_state_dict(create_model(network, 2)), metadata)
    with pytest.raises(ConfigError, match="a coupled head, whose anchor boxes are not those of --model.anchors"):
        yolox_jax.evaluate(config, weights=path)
