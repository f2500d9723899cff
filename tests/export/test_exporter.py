"""`yolox_jax.export`: what it writes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import onnx
import pytest

import yolox_jax.export
from yolox_jax.config import ConfigError
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.inference.detector import Detector
from yolox_jax.weights import export_state_dict, save_weights

SIZE = (64, 96)


@pytest.fixture(scope="module")
def run_directory(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    metadata = {"class_names": json.dumps(["red", "green", "blue"]), "input_size": json.dumps(SIZE)}
    save_weights(folder / "best" / "weights.safetensors", export_state_dict(model), metadata)
    return folder


@pytest.mark.parametrize("first_import", ["", "import yolox_jax.export.settings; "])
def test_the_name_in_the_package_can_be_called_whatever_was_imported_before(tmp_path, first_import):
    code = f"{first_import}import yolox_jax.export; yolox_jax.export('missing.pth', sys.argv[1])"
    command = [sys.executable, "-c", f"import sys; {code}", str(tmp_path / "m.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "no weights file missing.pth" in done.stderr.splitlines()[-1]


def test_the_suffix_names_the_format_and_the_weights_bring_names_and_size(run_directory, tmp_path):
    exported = yolox_jax.export(run_directory, tmp_path / "new" / "m.onnx", score_threshold=0.01, runner=True)
    assert exported.path == tmp_path / "new" / "m.onnx"
    assert exported.runner == tmp_path / "new" / "onnx_runner.py" and exported.runner.is_file()
    assert (exported.variant, exported.settings.input_size) == ("yolox_nano", SIZE)
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    runner = OnnxDetector(exported.path)
    _, scores, _ = runner(image)
    expected = Detector(weights=run_directory, score_threshold=0.01)(image)
    assert runner.class_names == ["red", "green", "blue"] and len(scores) > 3
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-3)


def test_stablehlo_is_the_format_of_its_suffix(run_directory, tmp_path):
    # The runtime shape checker cannot broadcast a symbolic batch size.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        exported = yolox_jax.export(str(run_directory), str(tmp_path / "m.stablehlo"), platforms=["cpu"])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert exported.path.is_file() and exported.runner is None


def test_options_reach_the_file(run_directory, tmp_path):
    options = {"input_size": (32, 64), "batch": 2, "nms": False, "precision": "float16", "opset": 14}
    file = onnx.load(yolox_jax.export(run_directory, tmp_path / "m.onnx", format="onnx", **options).path)
    assert [size.dim_value for size in file.graph.input[0].type.tensor_type.shape.dim] == [2, 32, 64, 3]
    assert [value.name for value in file.graph.output] == ["predictions"]
    assert file.opset_import[0].version == 14
    assert {entry.key: entry.value for entry in file.metadata_props}["precision"] == "float16"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("m.bin", {}, "--output must be a file name that ends in .stablehlo or .onnx or .*; got m.bin"),
        ("m.onnx", {"format": "stablehlo"}, "ends in .stablehlo for --format stablehlo"),
        ("m.engine", {"format": "tensorrt"}, "--format must be one of stablehlo, onnx, .*web; got 'tensorrt'"),
        ("folder.onnx", {}, "folder.onnx is a folder"),
        ("m.onnx", {"platforms": ["cpu"]}, "--platforms applies only to --format stablehlo"),
        ("m.stablehlo", {"opset": 17}, "--opset applies only to --format onnx"),
        (
            "m.onnx",
            {"precision": "bfloat16"},
            "--precision bfloat16 needs --format stablehlo; --format onnx has float32",
        ),
        ("m.param", {"precision": "bfloat16"}, "--precision bfloat16 needs --format stablehlo; --format ncnn"),
        ("m.onnx", {"score_threshold": 25}, "score threshold 25"),
    ],
)
def test_invalid_options_are_named_and_nothing_is_written(run_directory, tmp_path, monkeypatch, path, options, message):
    monkeypatch.chdir(tmp_path)
    jaxtyping.config.update("jaxtyping_disable", True)  # which would refuse an unknown format by its type
    (tmp_path / "folder.onnx").mkdir()
    try:
        with pytest.raises(ConfigError, match=message):
            yolox_jax.export(run_directory, path, **options)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.onnx"]
