"""Files for LiteRT: they predict what those for ONNX Runtime predict, of every network."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from exported import export_onnx
from lively import lively_model
from published_nano import IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, Found, detections_on_coco
from published_nano import SIZE as PUBLISHED_SIZE
from roadmap_networks import SIZE, pictures, roadmap_model, varied
from yolox_jax.config import ConfigError
from yolox_jax.export.litert import export_litert
from yolox_jax.export.litert_runner import LiteRtDetector
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.settings import ExportSettings
from yolox_jax.export.yolox_detection import ModelFileError
from yolox_jax.models import YOLOX, create_model
from yolox_jax.weights import load_weights
from yolox_jax.weights.coco_names import COCO_NAMES

NAMES = ("red", "green", "blue")
SETTINGS = {"input_size": SIZE, "nms": False, "batch": 1}


@pytest.fixture(scope="module")
def anchored() -> YOLOX:
    """A network whose detections differ from place to place."""
    return roadmap_model("coupled_anchors_end_to_end")


def predictions_of(path: Path, images: np.ndarray) -> np.ndarray:
    return Interpreter(str(path)).get_signature_runner()(images=images)["predictions"]


def assert_same_predictions(model: YOLOX, folder: Path, images: np.ndarray, *, bits: int = 8) -> None:
    settings = {**SETTINGS, "bits": bits}
    onnx_file = export_onnx(model, folder / "m.onnx", class_names=NAMES, **settings)
    (expected,) = onnxruntime.InferenceSession(onnx_file).run(["predictions"], {"images": images})
    found = predictions_of(export_litert(model, folder / "m.tflite", ExportSettings(NAMES, **settings)), images)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], rtol=1e-3, atol=1e-5)


def test_anchor_boxes_and_the_one_to_one_branch(anchored, tmp_path):
    assert_same_predictions(anchored, tmp_path, pictures(1))


def test_full_convolutions(tmp_path):
    assert_same_predictions(varied(lively_model(2, "yolox_tiny")), tmp_path, pictures(1))


@pytest.mark.slow
def test_the_blocks_and_activation_of_darknet(tmp_path):
    assert_same_predictions(lively_model(2, "yolox_darknet53"), tmp_path, pictures(1))


def test_sixteen_bits_and_four_channels(tmp_path):
    images = np.random.default_rng(0).integers(0, 65536, (1, *SIZE, 4)).astype(np.uint16)
    assert_same_predictions(varied(lively_model(1, channels=4)), tmp_path, images, bits=16)


def test_the_runner_finds_what_that_for_onnx_finds(anchored, tmp_path):
    thresholds = {"score_threshold": 0.01, "max_detections": 20}
    onnx_file = export_onnx(anchored, tmp_path / "m.onnx", class_names=NAMES, input_size=SIZE, **thresholds)
    path = export_litert(anchored, tmp_path / "m.tflite", ExportSettings(NAMES, **SETTINGS, **thresholds))
    image = pictures(1)[0][:40]
    found, expected = LiteRtDetector(path)(image), OnnxDetector(onnx_file)(image)
    assert len(found[0]) == 20
    for ours, theirs, tolerance in zip(found, expected, (0.02, 1e-4, 0), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


def test_half_precision_halves_the_file_and_predicts_nearly_the_same(model, tmp_path):
    files = [
        export_litert(model, tmp_path / f"{precision}.tflite", ExportSettings(NAMES, precision=precision, **SETTINGS))
        for precision in ("float32", "float16")
    ]
    whole, half = (file.stat().st_size for file in files)
    assert half < 0.6 * whole
    whole, half = (predictions_of(file, pictures(1)) for file in files)
    assert not np.array_equal(half, whole)
    np.testing.assert_allclose(half, whole, rtol=0.1, atol=0.01)


def test_what_cannot_be_stored_is_refused(tmp_path):
    large = lively_model(3)
    kernel = large.head.cls_preds[0].kernel
    kernel.set_value(kernel[...] * 1e9)
    with pytest.raises(ConfigError, match=r"head.cls_preds.0.weight has values .* beyond the range of float16"):
        export_litert(large, tmp_path / "m.tflite", ExportSettings(NAMES, precision="float16", **SETTINGS))
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_run_are_refused_with_the_reason(model, tmp_path):
    path = export_litert(model, tmp_path / "m.tflite", ExportSettings(NAMES, **SETTINGS))
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    with pytest.raises(ModelFileError, match=f"{re.escape(str(path))} was not exported by yolox_jax, or is damaged"):
        LiteRtDetector(path)
    path.write_bytes(b"\0" * 1000 + content[1000:])
    with pytest.raises(ModelFileError, match=f"LiteRT cannot load {re.escape(str(path))}"):
        LiteRtDetector(path)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 5e-4), ("float16", 2e-3)])
def test_average_precision_is_the_originals(shared, tmp_path, precision, tolerance):
    model = create_model("yolox_nano")
    load_weights(model, shared / "weights/yolox_nano.pth")
    settings = ExportSettings(
        COCO_NAMES,
        PUBLISHED_SIZE,
        precision=precision,
        batch=1,
        nms=False,
        score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD,
        max_detections=MAX_DETECTIONS,
    )
    detector = LiteRtDetector(export_litert(model, tmp_path / "m.tflite", settings))

    def detect(images: np.ndarray, ratios: np.ndarray) -> Found:
        found = [detector.detect(image, float(ratio)) for image, ratio in zip(images, ratios, strict=True)]
        boxes, scores, classes = zip(*found, strict=True)
        return boxes, scores, classes, np.array([len(ones) for ones in scores])

    assert detections_on_coco(shared, detect).ap == pytest.approx(0.3096, abs=tolerance)
