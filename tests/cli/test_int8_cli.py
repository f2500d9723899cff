"""`export --precision int8`: calibration, what is refused, and that `verify` passes the file."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from lively import lively_model
from yolox_jax.cli.main import main
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.weights import export_state_dict, save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Weights, photographs, and a file in 8 bits exported from them."""
    folder = tmp_path_factory.mktemp("int8")
    for seed in (1, 2):
        metadata = {"class_names": json.dumps(["bar", "circle", "star"]), "input_size": "[64, 96]"}
        save_weights(folder / f"{seed}.safetensors", export_state_dict(lively_model(seed=seed)), metadata)
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        coarse = rng.integers(0, 255, (8, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"photos/{number}.png"), cv2.resize(coarse, (90, 60 + number)))
    words = ["--score-threshold", "0.05", "--iou-threshold", "0.9", "--calibrate", folder / "photos"]
    assert export(folder, "m.onnx", *words) == 0
    return folder


def export(folder: Path, name: str, *words: str | Path, precision: str = "int8", format: str = "onnx") -> int:
    given = ["--weights", folder / "1.safetensors", "--output", folder / name, "--precision", precision]
    return main(["export", *map(str, [*given, "--format", format, *words])])


def test_a_quantised_file_detects_what_its_weights_detect_and_no_others(folder, capfd):
    words = ["verify", folder / "m.onnx", "--data", folder / "photos", "--weights"]
    assert main([*map(str, words), str(folder / "1.safetensors")]) == 0
    printed = capfd.readouterr().out
    assert "the file detects what its weights detect" in printed and "15 % allowed" in printed
    assert main([*map(str, words), str(folder / "2.safetensors")]) == 1


def test_progress_few_images_and_classes_without_an_object_are_reported(folder, tmp_path, caplog, capfd):
    generate_shapes(tmp_path / "shapes", num_train=3, num_val=1, image_size=96)
    path = tmp_path / "shapes" / "instances_train.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 99, "name": "hexagon"})
    path.write_text(json.dumps(content))
    words = ["--calibrate", path, "--calibration-images", "2", "--calibration-method", "minmax"]
    assert export(folder, "few.onnx", *words) == 0
    printed = capfd.readouterr()
    assert "int8, any batch size" in printed.out and "4 of 4 readings of calibration images" in printed.err
    stored = {entry.key: entry.value for entry in onnx.load(folder / "few.onnx").metadata_props}
    assert stored["precision"] == "int8"
    assert "2 images may be too few" in caplog.text
    assert "the 2 images used show no object of" in caplog.text and "hexagon" in caplog.text


def test_broken_images_are_left_out_with_one_warning(folder, tmp_path, caplog):
    (tmp_path / "0.png").write_bytes((folder / "photos/0.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert export(folder, "left.onnx", "--calibrate", tmp_path, "--calibration-method", "minmax") == 0
    assert caplog.text.count("left out") == 1 and "broken.png" in caplog.text


@pytest.mark.parametrize(
    ("words", "given", "message"),
    [
        ([], {}, "--precision int8 needs --calibrate with images"),
        (["--calibrate", "photos"], {"precision": "float16"}, "--calibrate applies only to --precision int8"),
        (["--quantize-for", "openvino"], {"precision": "float32"}, "--quantize-for applies only to --precision int8"),
        (["--calibrate", "photos"], {"format": "stablehlo"}, "--precision int8 needs --format onnx"),
        (["--calibrate", "photos"], {"format": "web"}, "--precision int8 needs --format onnx"),
        (["--calibrate", "nowhere"], {}, "--calibrate nowhere: there are neither images nor a dataset"),
        (["--calibrate", "empty"], {}, "--calibrate empty: there are neither images nor a dataset"),
        (["--calibrate", "photos", "--calibration-images", "0"], {}, "--calibration-images must be at least 1; got 0"),
        (["--calibrate", "photos", "--calibration-percentile", "5"], {}, "--calibration-percentile must be above 50"),
        (
            ["--calibrate", "photos", "--calibration-percentile", "99", "--calibration-method", "minmax"],
            {},
            "--calibration-percentile applies only to --calibration-method percentile",
        ),
        (["--calibrate", "broken.png"], {}, "--calibrate broken.png: none of the images can be read"),
        (["--calibrate", "photos", "--float-layers", "backbone.none"], {}, "--float-layers backbone.none: no layer"),
    ],
)
def test_what_cannot_be_quantised_is_refused(folder, monkeypatch, capfd, words, given, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "broken.png").write_text("no image")
    name = f"refused.{given.get('format', 'onnx')}"
    assert export(folder, name, *words, **given) == 2
    assert message in capfd.readouterr().err and not (folder / name).exists()


def test_without_onnxruntime_it_says_what_to_install(folder, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(folder, "refused.onnx", "--calibrate", folder / "photos") == 2
    assert "pip install 'yolox-jax[onnx]'" in capfd.readouterr().err
