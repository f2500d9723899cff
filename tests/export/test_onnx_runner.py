"""The runner that users copy: alone, and against the package's own preparation of images."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from alone import run_alone
from exported import export_onnx
from yolox_jax.data.letterbox import PADDING, letterbox
from yolox_jax.export import yolox_detection
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.yolox_detection import ModelFileError, draw

SIZE = (64, 96)
NAMES = ("red", "green", "blue")
SETTINGS = {"input_size": SIZE, "class_names": NAMES, "score_threshold": 0.01, "max_detections": 20}


@pytest.fixture(scope="module")
def with_suppression(model, tmp_path_factory) -> Path:
    return export_onnx(model, tmp_path_factory.mktemp("detections") / "m.onnx", **SETTINGS)


@pytest.fixture(scope="module")
def without_suppression(model, tmp_path_factory) -> Path:
    return export_onnx(model, tmp_path_factory.mktemp("predictions") / "m.onnx", nms=False, **SETTINGS)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", ["with_suppression", "without_suppression"])
def test_a_copy_runs_without_jax_and_the_package(kind, request, tmp_path):
    path = request.getfixturevalue(kind)
    image = noise(80, 90)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    done = run_alone("onnx", tmp_path, path, "image.png", "--output", "drawn.png")
    assert done.returncode == 0, done.stderr
    boxes, scores, classes = OnnxDetector(path)(image)
    lines = done.stdout.splitlines()
    assert len(lines) == len(boxes) > 3
    name, *numbers = lines[0].split()
    assert name == NAMES[classes[0]]
    np.testing.assert_allclose(list(map(float, numbers)), [scores[0], *boxes[0]], atol=0.06)
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert drawn.shape == image.shape and not np.array_equal(drawn, image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.onnx", "missing.png"], "missing.png is missing"),
        (["missing.onnx", "image.png"], "no file missing.onnx"),
        (["m.onnx", "image.png", "--output", "drawn"], "--output drawn must be the name of an image file"),
    ],
)
def test_what_cannot_work_is_named_without_a_traceback(arguments, message, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), noise(8, 8))
    done = run_alone("onnx", tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("format", "package"),
    [("onnx", "onnxruntime"), ("litert", "ai_edge_litert"), ("ncnn", "ncnn"), ("stablehlo", "jax")],
)
def test_a_missing_runtime_is_named(format, package, without_suppression, tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), noise(8, 8))
    done = run_alone(format, tmp_path, without_suppression, "image.png", blocked=[package])
    assert done.returncode == 2
    assert f"pip install {package}" in done.stderr and "Traceback" not in done.stderr


def test_labels_are_whole_at_the_edges_of_the_image():
    grey = np.full((200, 300, 3), 128, np.uint8)

    def num_dark(x: float, y: float) -> int:
        drawn = draw(grey, np.array([[x, y, x + 40, y + 40]]), np.array([0.9]), np.array([2]), NAMES)
        return int((drawn < 40).all(axis=2).sum())

    assert num_dark(280, 0) == num_dark(-10, 100) == num_dark(100, 100) > 20


@pytest.mark.parametrize("shape", [(64, 96), (200, 100), (31, 1000), (48, 64)])
def test_both_kinds_of_file_give_the_detections_of_the_letterboxed_image(with_suppression, without_suppression, shape):
    image = noise(*shape)
    letterboxed, ratio = letterbox(image, SIZE)
    inputs = {"images": letterboxed[None], "ratios": np.array([ratio], np.float32)}
    boxes, scores, classes, count = onnxruntime.InferenceSession(with_suppression).run(None, inputs)
    assert count[0] > 3
    for path in (with_suppression, without_suppression):
        found = OnnxDetector(path)(image)
        np.testing.assert_array_equal(found[2], classes[0, : count[0]])
        np.testing.assert_allclose(found[1], scores[0, : count[0]], rtol=1e-5)
        np.testing.assert_allclose(found[0], boxes[0, : count[0]], rtol=1e-5, atol=1e-3)


def test_images_are_letterboxed_as_in_the_package():
    for height, width in ((64, 96), (640, 427), (33, 1000), (1000, 3), (50, 50)):
        image = noise(height, width)
        ours, ratio = letterbox(image, SIZE)
        copy, copied_ratio = yolox_detection.letterbox(image, SIZE, PADDING)
        np.testing.assert_array_equal(copy, ours)
        assert copied_ratio == ratio


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_suppression_in_the_runner_equals_that_inside_the_file(model, tmp_path, class_agnostic):
    found = []
    for nms in (True, False):
        settings = SETTINGS | {"iou_threshold": 0.1, "class_agnostic": class_agnostic, "max_detections": 1000}
        path = export_onnx(model, tmp_path / "m.onnx", nms=nms, **settings)
        found.append(OnnxDetector(path)(noise(64, 96)))
    assert len(found[0][0]) > 3
    for inside, outside in zip(*found, strict=True):
        np.testing.assert_allclose(inside, outside, rtol=1e-5, atol=1e-3)


def test_a_file_with_a_fixed_batch_takes_one_image_too(model, with_suppression, tmp_path):
    image = noise(50, 70)
    fixed = OnnxDetector(export_onnx(model, tmp_path / "m.onnx", batch=3, **SETTINGS))
    for ours, theirs in zip(fixed(image), OnnxDetector(with_suppression)(image), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-2)


def test_settings_are_those_of_the_file(with_suppression):
    detector = OnnxDetector(with_suppression)
    assert (detector.class_names, detector.input_size) == (list(NAMES), SIZE)
    assert (detector.score_threshold, detector.iou_threshold) == (0.01, 0.45)
    assert (detector.class_agnostic, detector.max_detections) == (False, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opset": 99}, rf"opset 99.*ONNX Runtime {onnxruntime.__version__} supports up to \d+. Install a newer"),
        ({"ir_version": 99}, rf"IR version 99.*ONNX Runtime {onnxruntime.__version__} supports up to \d+"),
        ({"metadata": False}, "not exported by yolox_jax.*'class_names'"),
    ],
)
def test_files_that_cannot_be_run_are_refused_with_the_reason(with_suppression, tmp_path, changes, message):
    file = onnx.load(with_suppression)
    file.opset_import[0].version = changes.get("opset", file.opset_import[0].version)
    file.ir_version = changes.get("ir_version", file.ir_version)
    if "metadata" in changes:
        del file.metadata_props[:]
    path = tmp_path / "changed.onnx"
    path.write_bytes(file.SerializeToString())
    with pytest.raises(ModelFileError, match=message):
        OnnxDetector(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "notes.onnx"
    path.write_text("no network")
    with pytest.raises(ModelFileError, match=r"cannot load .*notes\.onnx"):
        OnnxDetector(path)


@pytest.mark.parametrize("image", [noise(8, 8)[..., 0], noise(8, 8).astype(np.float32), noise(8, 8)[:0]])
def test_arrays_that_are_no_bgr_images_are_refused(with_suppression, image):
    with pytest.raises(ValueError, match="uint8 array"):
        OnnxDetector(with_suppression)(image)
