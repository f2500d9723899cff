"""`export --precision int8`: calibration, what is refused, and that `verify` passes the file and finds faults in it."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from lively import lively_model
from yolox_jax.cli.main import main
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.export import onnx_runner
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
    for number in range(16):
        coarse = rng.integers(0, 255, (8, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"photos/{number}.png"), cv2.resize(coarse, (90, 60 + number)))
    words = ["--score-threshold", "0.05", "--max-detections", "50", "--calibrate", folder / "photos"]
    assert export(folder, "m.onnx", *words) == 0
    return folder


def export(folder: Path, name: str, *words: str | Path, precision: str = "int8", format: str = "onnx") -> int:
    given = ["--weights", folder / "1.safetensors", "--output", folder / name, "--precision", precision]
    return main(["export", *map(str, [*given, "--format", format, *words])])


def verify(folder: Path, file: Path, *words: str, weights: str = "1.safetensors") -> int:
    return main(["verify", *map(str, [file, "--weights", folder / weights, "--data", folder / "photos", *words])])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_quantised_file_detects_what_its_weights_detect(folder, capfd, runtime):
    assert verify(folder, folder / "m.onnx", "--runtime", runtime) == 0
    assert "the file detects what its weights detect" in capfd.readouterr().out


@pytest.mark.parametrize("fault", ["other weights", "one weight", "channels", "letterbox"])
def test_a_fault_in_a_quantised_file_is_noticed(folder, tmp_path, monkeypatch, fault):
    model = onnx.load(folder / "m.onnx")
    stem = next(one for one in model.graph.initializer if one.name == "backbone.backbone.stem.conv.conv.weight")
    values = onnx.numpy_helper.to_array(stem).copy()
    if fault == "one weight":
        values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= 3
    elif fault == "channels":
        values = np.ascontiguousarray(values[:, ::-1])
    elif fault == "letterbox":
        monkeypatch.setattr(onnx_runner, "letterbox", centred)
    stem.CopyFrom(onnx.numpy_helper.from_array(values, stem.name))
    onnx.save(model, tmp_path / "faulty.onnx")
    weights = "2.safetensors" if fault == "other weights" else "1.safetensors"
    assert verify(folder, tmp_path / "faulty.onnx", weights=weights) == 1


def centred(image: np.ndarray, size: tuple[int, int], padding: int) -> tuple[np.ndarray, float]:
    """A letterbox with the image in the middle, as other detectors have."""
    canvas, ratio = letterbox(image, size)
    free = size[1] - int(image.shape[1] * ratio)
    return np.roll(canvas, free // 2, axis=1), ratio


def test_progress_is_shown_and_the_file_says_what_it_is(folder, capfd):
    assert export(folder, "again.onnx", "--calibrate", folder / "photos", "--max-detections", "50") == 0
    printed = capfd.readouterr()
    assert "int8, any batch size" in printed.out and "32 of 32 calibration images" in printed.err
    stored = {entry.key: entry.value for entry in onnx.load(folder / "again.onnx").metadata_props}
    assert stored["precision"] == "int8"


def test_classes_without_an_object_and_few_images_are_warned_of(folder, tmp_path, caplog):
    generate_shapes(tmp_path / "shapes", num_train=3, num_val=1, image_size=96)
    path = tmp_path / "shapes" / "instances_train.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 99, "name": "hexagon"})
    path.write_text(json.dumps(content))
    words = ["--calibrate", path, "--calibration-images", "2", "--calibration-method", "minmax"]
    assert export(folder, "few.onnx", *words) == 0
    assert "2 images may be too few" in caplog.text
    assert "the 2 images used show no object of" in caplog.text and "hexagon" in caplog.text


def test_broken_images_are_left_out_with_one_warning(folder, tmp_path, caplog):
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes((folder / f"photos/{number}.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert export(folder, "left.onnx", "--calibrate", tmp_path, "--calibration-method", "entropy") == 0
    assert caplog.text.count("left out") == 1 and "broken.png" in caplog.text
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    assert export(folder, "none.onnx", "--calibrate", tmp_path) == 2


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
        (["--calibrate", "photos", "--float-layers", "backbone.none"], {}, "--float-layers backbone.none: no layer"),
    ],
)
def test_what_cannot_be_quantised_is_refused(folder, monkeypatch, capfd, words, given, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    name = f"refused.{given.get('format', 'onnx')}"
    assert export(folder, name, *words, **given) == 2
    assert message in capfd.readouterr().err and not (folder / name).exists()


def test_without_onnxruntime_it_says_what_to_install(folder, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(folder, "refused.onnx", "--calibrate", folder / "photos") == 2
    assert "pip install 'yolox-jax[onnx]'" in capfd.readouterr().err
