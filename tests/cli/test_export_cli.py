import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import jax.export
import jaxtyping
import numpy as np
import onnx
import pytest

from lively import lively_model
from yolox_jax.cli.main import main
from yolox_jax.export.onnxruntime_web import FILES
from yolox_jax.weights import export_state_dict, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    metadata = {"class_names": '["red", "green", "blue"]', "input_size": "[64, 96]"}
    save_weights(path, export_state_dict(lively_model(seed=1)), metadata)
    return path


def export(*words: str | Path) -> int:
    return main(["export", *map(str, words)])


def test_an_onnx_file_runs_with_the_copied_runner(weights, tmp_path, capfd):
    output, image = tmp_path / "new" / "model.onnx", tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    words = ["--score-threshold", "1e-9", "--max-detections", "4", "--runner"]
    assert export("--weights", weights, "--format", "onnx", "--output", output, *words) == 0
    printed = capfd.readouterr().out
    assert "yolox_nano, 3 classes, input 64x96 (height x width), float32, any batch size" in printed
    python, *command = shlex.split(printed.splitlines()[-1].removeprefix("Run it: "))
    assert python == "python"
    run = subprocess.run(
        [sys.executable, *(str(image) if word == "photo.jpg" else word for word in command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    assert {line.split()[0] for line in lines} <= {"red", "green", "blue"}
    assert cv2.imread(str(tmp_path / "drawn.jpg")).shape == (60, 90, 3)


def test_flags_reach_the_file(weights, tmp_path):
    words = ["--input-size", "32", "64", "--batch", "2", "--no-nms", "--precision", "float16"]
    assert export("--weights", weights, "--format", "onnx", "--output", tmp_path / "m.onnx", *words) == 0
    model = onnx.load(tmp_path / "m.onnx")
    assert [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim] == [2, 32, 64, 3]
    assert [value.name for value in model.graph.output] == ["predictions"]
    assert {entry.key: entry.value for entry in model.metadata_props}["precision"] == "float16"


def test_stablehlo_is_written_for_the_platforms_asked_for(weights, tmp_path, capfd):
    # The checker of shapes cannot broadcast a symbolic batch size.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        words = ["--format", "stablehlo", "--output", tmp_path / "m.stablehlo", "--platforms", "cpu"]
        assert export("--weights", weights, *words) == 0
        (call,) = re.findall(r"In Python: (jax\.export.*) is a function of images and ratios", capfd.readouterr().out)
        images, ratios = np.zeros((1, 64, 96, 3), np.uint8), np.ones(1, np.float32)
        assert eval(call, {"jax": jax, "zipfile": zipfile})(images, ratios)["boxes"].shape[0] == 1
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    with zipfile.ZipFile(tmp_path / "m.stablehlo") as file:
        assert set(file.namelist()) == {"detect.bin", "metadata.json"}


def test_a_stablehlo_file_runs_with_the_copied_runner(weights, tmp_path, capfd):
    output, image = tmp_path / "m.stablehlo", tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
    words = ["--score-threshold", "1e-9", "--max-detections", "4", "--platforms", "cpu", "--batch", "1", "--runner"]
    assert export("--weights", weights, "--format", "stablehlo", "--output", output, *words) == 0
    _, *command = shlex.split(capfd.readouterr().out.splitlines()[-1].removeprefix("Run it: "))
    command = [str(image) if word == "photo.jpg" else word for word in command]
    run = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(run.stdout.splitlines()) == 4 and run.stdout.split()[0] in {"red", "green", "blue"}


def test_a_page_is_written_and_the_command_says_how_to_show_it(weights, tmp_path, capfd):
    runtime, page = tmp_path / "runtime", tmp_path / "my page"
    runtime.mkdir()
    for name in FILES:
        (runtime / name).touch()
    words = ["--format", "web", "--output", page, "--onnxruntime-web", runtime]
    assert export("--weights", weights, *words) == 0
    printed = capfd.readouterr().out
    assert "yolox_nano, 3 classes, input 64x96 (height x width), float32, batch size 1" in printed
    assert f"python -m http.server --directory '{page}' 8000, then open http://localhost:8000" in printed
    assert (page / "index.html").is_file() and (page / "onnxruntime" / FILES[0]).is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onnx", "--output", "m.bin"], "ends in .onnx for --format onnx"),
        (["--format", "stablehlo", "--output", "m.onnx"], "ends in .stablehlo for --format stablehlo"),
        (["--format", "onnx", "--output", "m.onnx", "--input-size", "100", "64"], "100 x 64.*multiples of 32"),
        (["--format", "onnx", "--output", "m.onnx", "--score-threshold", "25"], "score threshold 25"),
        (["--format", "onnx", "--output", "file/m.onnx"], "the folder of --output, file cannot be written to"),
        (["--format", "onnx", "--output", "m.onnx", "--weights", "missing.pth"], "missing.pth"),
    ],
)
def test_errors_are_named_and_nothing_is_written(weights, tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    assert export("--weights", weights, *words) == 2
    error = capfd.readouterr().err
    assert re.search(message, error), error
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--format", "stablehlo", "--output", "m.stablehlo", "--opset", "15"],
            "--opset applies only to --format onnx",
        ),
        (
            ["--format", "onnx", "--output", "m.onnx", "--platforms", "cpu"],
            "--platforms applies only to --format stablehlo",
        ),
    ],
)
def test_flags_of_the_other_format_are_refused(tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    assert export("--weights", "none.pth", *words) == 2
    assert message in capfd.readouterr().err


def test_invalid_values_are_refused_rather_than_replaced_by_defaults(weights, tmp_path, capfd):
    onnx_words = ["--format", "onnx", "--output", tmp_path / "m.onnx", "--opset", "0"]
    assert export("--weights", weights, *onnx_words) == 2
    assert "--opset must be from 13 to" in capfd.readouterr().err
    assert (
        export("--weights", weights, "--format", "stablehlo", "--output", tmp_path / "m.stablehlo", "--platforms") == 2
    )
    assert "platforms must be one or more of cpu, cuda, tpu; got []" in capfd.readouterr().err


def test_an_older_opset_is_written(weights, tmp_path):
    words = ["--format", "onnx", "--output", tmp_path / "m.onnx", "--opset", "14"]
    assert export("--weights", weights, *words) == 0
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 14


@pytest.mark.parametrize("name", ["onnx_runner.py", "yolox_detection.py"])
def test_a_runner_that_was_changed_is_not_replaced(tmp_path, capfd, name):
    beside = tmp_path / name
    beside.write_text("mine")
    assert export("--weights", "none.pth", "--format", "onnx", "--output", tmp_path / "m.onnx", "--runner") == 2
    assert f"{beside} already exists and differs" in capfd.readouterr().err
    assert beside.read_text() == "mine"
