import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from lively import lively_model
from roadmap_networks import varied
from yolox_jax.cli.main import main
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.export import litert_network, yolox_detection
from yolox_jax.weights import export_state_dict, save_weights

NAMES = ["bar", "circle", "star"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Weights, files exported from them, and images with and without annotations."""
    folder = tmp_path_factory.mktemp("verify")
    save(folder / "weights.safetensors", seed=1)
    save(folder / "others.safetensors", seed=2)
    for name in ("m.onnx", "raw.onnx", "m.stablehlo", "raw.stablehlo", "m.tflite"):
        words = ["--no-nms"] if name.startswith("raw") else []
        words += ["--platforms", "cpu", "--batch", "2"] if name.endswith("stablehlo") else []
        kind = name.split(".")[1].replace("tflite", "litert")
        command = ["export", "--weights", folder / "weights.safetensors", "--format", kind, "--output", folder / name]
        assert main([*map(str, command), "--score-threshold", "0.05", "--max-detections", "50", *words]) == 0
    generate_shapes(folder / "shapes", num_train=2, num_val=4, image_size=96)
    only_known_classes(folder / "shapes" / "instances_val.json")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(folder / f"photos/{number}.png"), rng.integers(0, 255, (60 + number, 90, 3), np.uint8))
    return folder


def only_known_classes(path: Path) -> None:
    """Drops the triangles, which the weights do not know."""
    content = json.loads(path.read_text())
    content["categories"] = [one for one in content["categories"] if one["name"] in NAMES]
    known = {one["id"] for one in content["categories"]}
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] in known]
    path.write_text(json.dumps(content))


def save(path: Path, *, seed: int, names: list[str] = NAMES) -> None:
    metadata = {"class_names": json.dumps(names), "input_size": "[64, 96]"}
    save_weights(path, export_state_dict(varied(lively_model(seed=seed))), metadata)


def verify(*words: str | Path) -> int:
    return main(["verify", *map(str, words)])


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("m.onnx", "onnxruntime"),
        ("m.onnx", "openvino"),
        ("raw.onnx", "onnxruntime"),
        ("m.stablehlo", "onnxruntime"),
        ("raw.stablehlo", "onnxruntime"),
        ("m.tflite", "onnxruntime"),
    ],
)
def test_a_file_detects_what_its_weights_detect(folder, tmp_path, capfd, name, runtime):
    output = tmp_path / "out" / "differences.json"
    words = ["--weights", folder / "weights.safetensors", "--data", folder / "shapes" / "instances_val.json"]
    assert verify(folder / name, *words, "--output", output, "--runtime", runtime) == 0
    printed = capfd.readouterr().out
    assert "4 images" in printed and "0 lost, 0 gained" in printed and "AP at the thresholds" in printed
    written = json.loads(output.read_text())
    assert written["agrees"] and len(written["images"]) == 4 and written["num_detections"] > 20
    assert written["box_px"] < 0.01 and written["AP"]["file"] == pytest.approx(written["AP"]["weights"], abs=1e-4)


@pytest.mark.parametrize("name", ["m.onnx", "raw.onnx", "m.stablehlo"])
def test_weights_that_changed_since_the_export_are_noticed(folder, capfd, name):
    words = ["--weights", folder / "others.safetensors", "--data", folder / "photos"]
    assert verify(folder / name, *words) == 1
    printed = capfd.readouterr().out
    assert "DIFFERS from its weights, most in" in printed and ".png" in printed and "AP" not in printed


@pytest.mark.parametrize("fault", ["one weight", "channels", "letterbox"])
def test_a_fault_in_an_onnx_file_is_noticed(folder, tmp_path, monkeypatch, fault):
    model = onnx.load(folder / "m.onnx")
    stem = next(one for one in model.graph.initializer if one.name == "backbone.backbone.stem.conv.conv.weight")
    values = onnx.numpy_helper.to_array(stem).copy()
    if fault == "one weight":
        values[0, 0, 1, 1] *= 1.5
    elif fault == "channels":
        values = np.ascontiguousarray(values[:, ::-1])
    else:
        monkeypatch.setattr(yolox_detection, "letterbox", centred)
    stem.CopyFrom(onnx.numpy_helper.from_array(values, stem.name))
    onnx.save(model, tmp_path / "faulty.onnx")
    words = ["--weights", folder / "weights.safetensors", "--data", folder / "photos"]
    assert verify(tmp_path / "faulty.onnx", *words) == 1


def test_a_fault_in_a_tflite_file_is_noticed(folder, tmp_path, monkeypatch):
    original = litert_network._Translation._weight

    def in_rgb(self, name, kernel):
        return original(self, name, kernel[..., ::-1] if kernel.shape[-1] == 3 else kernel)

    monkeypatch.setattr(litert_network._Translation, "_weight", in_rgb)
    words = ["--format", "litert", "--output", tmp_path / "m.tflite", "--score-threshold", "0.05"]
    words += ["--weights", folder / "weights.safetensors", "--verify", folder / "photos"]
    assert main(["export", *map(str, words)]) == 1


def centred(image: np.ndarray, size: tuple[int, int], padding: int) -> tuple[np.ndarray, float]:
    """A letterbox with the image in the middle, as other detectors have."""
    canvas, ratio = letterbox(image, size)
    free = size[1] - int(image.shape[1] * ratio)
    return np.roll(canvas, free // 2, axis=1), ratio


def test_tolerances_can_be_widened(folder):
    words = ["--weights", folder / "others.safetensors", "--data", folder / "photos", "--changed-tolerance", "1"]
    assert verify(folder / "m.onnx", *words) == 0


def test_without_any_detection_nothing_is_verified(folder, tmp_path, capfd):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 96, 3), 114, np.uint8))
    words = ["--format", "onnx", "--output", tmp_path / "strict.onnx", "--score-threshold", "0.9999"]
    words += ["--weights", folder / "weights.safetensors", "--verify", tmp_path / "grey.png"]
    assert main(["export", *map(str, words)]) == 1
    printed = capfd.readouterr().out
    assert "1 image, 0 detections" in printed and "nothing was compared" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onnx", "--verify", "nowhere"], "--verify nowhere: there are neither images nor a dataset"),
    ],
)
def test_export_refuses_before_it_writes_what_it_cannot_verify(folder, tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(folder)
    output = tmp_path / f"new.{words[1]}"
    assert main(["export", "--weights", "weights.safetensors", "--output", str(output), *words]) == 2
    assert message in capfd.readouterr().err and not output.exists()


def test_export_verifies_what_it_wrote(folder, tmp_path, capfd):
    words = ["--weights", folder / "weights.safetensors", "--format", "onnx", "--output", tmp_path / "new.onnx"]
    assert main(["export", *map(str, words), "--verify", str(folder / "photos")]) == 0
    assert "the file detects what its weights detect" in capfd.readouterr().out


def write_foreign(folder: Path) -> None:
    """Writes files of the right types that another program could have written."""
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "graph", ports[:1], ports[1:])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "foreign.onnx")
    with zipfile.ZipFile(folder / "foreign.stablehlo", "w") as file:
        file.writestr("model.txt", "")


@pytest.mark.parametrize(
    ("file", "words", "message"),
    [
        ("none.onnx", [], "there is no file"),
        ("weights.safetensors", [], "must be an exported file that ends in .onnx or .stablehlo"),
        ("page", [], "page is a folder. Pass "),
        ("page", [], "page/network.onnx"),
        ("m.mlpackage", [], "m.mlpackage runs on macOS only"),
        ("m.onnx", ["--data", "nowhere"], "there are neither images nor a dataset"),
        ("damaged.onnx", [], "ONNX Runtime"),
        ("damaged.onnx", ["--runtime", "openvino"], "OpenVINO"),
        ("damaged.stablehlo", [], "was not exported by yolox_jax"),
        ("foreign.onnx", [], "was not exported by yolox_jax"),
        ("foreign.onnx", ["--runtime", "openvino"], "was not exported by yolox_jax"),
        ("foreign.stablehlo", [], "was not exported by yolox_jax"),
        ("m.stablehlo", ["--runtime", "openvino"], "--runtime openvino runs .onnx files"),
        ("m.onnx", ["--limit", "-1"], "--limit must be 0 or more"),
        ("m.onnx", ["--box-tolerance", "-1"], "--box-tolerance must be at least 0; got -1.0"),
        ("m.onnx", ["--score-tolerance", "nan"], "--score-tolerance must be between 0 and 1; got nan"),
        ("m.onnx", ["--changed-tolerance", "5"], "--changed-tolerance must be between 0 and 1; got 5.0"),
        ("m.onnx", ["--weights", "none.pth"], "none.pth"),
        ("m.onnx", ["--weights", "renamed.safetensors"], "has the classes bar, circle, star, but"),
        ("m.onnx", ["--weights", "tiny.safetensors"], "holds a yolox_nano, but"),
    ],
)
def test_what_cannot_be_compared_is_refused(folder, tmp_path, capfd, file, words, message):
    if file.startswith("damaged"):
        (folder / file).write_bytes(b"no model")
    (folder / "page").mkdir(exist_ok=True)
    (folder / "page" / "network.onnx").touch()
    write_foreign(folder)
    save(folder / "renamed.safetensors", seed=1, names=["a", "b", "c"])
    if "tiny.safetensors" in words and not (folder / "tiny.safetensors").exists():
        save_weights(
            folder / "tiny.safetensors",
            export_state_dict(lively_model(seed=1, config="yolox_tiny")),
            {"class_names": json.dumps(NAMES), "input_size": "[64, 96]"},
        )
    words = [str(folder / word) if word.endswith(("safetensors", "nowhere")) else word for word in words]
    given = [] if "--weights" in words else ["--weights", folder / "weights.safetensors"]
    given += [] if "--data" in words else ["--data", folder / "photos"]
    assert verify(folder / file, *given, *words) == 2
    assert message in capfd.readouterr().err


def test_an_empty_folder_is_refused(folder, tmp_path, capfd):
    assert verify(folder / "m.onnx", "--weights", folder / "weights.safetensors", "--data", tmp_path) == 2
    assert "neither images nor a dataset" in capfd.readouterr().err
