import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    metadata = {"class_names": '["red", "blue"]', "input_size": "[96, 96]"}
    save_weights(path, export_state_dict(create_model("yolox_nano", 2)), metadata)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
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
    (tmp_path / "instances.json").write_text(json.dumps(annotations))
    return tmp_path


def evaluate(data: Path, weights: Path, *words: str | Path) -> int:
    settings = [
        "--data.val.format",
        "coco",
        "--data.val.images",
        data,
        "--data.val.annotations",
        data / "instances.json",
    ]
    settings += ["--data.input-size", "64", "64", "--evaluation.batch-size", "2", "--evaluation.score-threshold", "0.0"]
    settings += ["--evaluation.max-detections", "5"]
    return main(
        ["evaluate", "--config", "yolox_nano", "--weights", str(weights), *map(str, settings), *map(str, words)]
    )


def test_figures_and_detections_are_printed_and_written(data, weights, tmp_path, capfd):
    output, detections = tmp_path / "new" / "metrics.json", tmp_path / "detections.json"
    assert evaluate(data, weights, "--output", output, "--detections", detections) == 0
    printed = capfd.readouterr().out
    for word in ("AP50", "AR_100", "red", "blue", "15 detections in 3 images"):
        assert word in printed
    metrics = json.loads(output.read_text())
    assert 0 <= metrics["AP"] <= 1
    assert metrics["per_class"] == {"red": pytest.approx(metrics["AP"]), "blue": None}
    results = json.loads(detections.read_text())
    assert len(results) == 15
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}


def test_nothing_is_written_unless_asked_for(data, weights, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert evaluate(data, weights) == 0
    assert not list(elsewhere.iterdir())


def test_weights_of_another_class_count_are_refused_with_both_lists(data, weights, capfd):
    content = json.loads((data / "instances.json").read_text())
    content["categories"].append({"id": 3, "name": "green"})
    (data / "instances.json").write_text(json.dumps(content))
    assert evaluate(data, weights) == 2
    error = capfd.readouterr().err
    assert "2 classes (red, blue)" in error
    assert "3 (red, blue, green)" in error


def test_classes_of_other_names_are_warned_of(data, weights, capfd):
    content = json.loads((data / "instances.json").read_text())
    content["categories"][1]["name"] = "green"
    (data / "instances.json").write_text(json.dumps(content))
    assert evaluate(data, weights) == 0
    assert "class 1 is 'blue' for the weights and 'green' in the data set" in capfd.readouterr().err


def test_weights_of_another_variant_are_refused(data, weights, capfd):
    assert evaluate(data, weights, "--model.variant", "yolox_tiny") == 2
    error = capfd.readouterr().err
    assert "yolox_nano" in error
    assert "yolox_tiny" in error


def test_an_output_that_cannot_be_written_is_refused_before_the_work(data, weights, tmp_path, capfd):
    assert evaluate(data, weights, "--output", tmp_path) == 2
    assert "is a folder" in capfd.readouterr().err
    assert evaluate(data, weights, "--output", data / "instances.json" / "metrics.json") == 2
    assert "cannot be written" in capfd.readouterr().err


def test_missing_weights_are_named(data, capfd):
    assert evaluate(data, data / "none.pth") == 2
    assert "none.pth" in capfd.readouterr().err
