"""The published network as ONNX on photographs, against the detector and the original."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from exported import export_onnx
from scored_sets import score
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.pipeline import evaluation_batches
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.evaluation.results import from_detections
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.inference.detector import Detector
from yolox_jax.models import YOLOX, create_model
from yolox_jax.structures import Detections
from yolox_jax.weights import load_weights
from yolox_jax.weights.coco_names import COCO_NAMES

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "coco_val2017_100_nano_detections.npz")
SIZE = (416, 416)
SETTINGS = {"input_size": SIZE, "score_threshold": 0.01, "iou_threshold": 0.65}


@pytest.fixture(scope="module")
def nano(shared: Path) -> YOLOX:
    model = create_model("yolox_nano")
    load_weights(model, shared / "weights/yolox_nano.pth")
    return model


@pytest.fixture(scope="module")
def dataset(shared: Path) -> Dataset:
    folder = shared / "data/coco_val2017_100"
    return read_coco(folder / "images", folder / "instances.json", setting="--data.val")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_average_precision_is_the_originals(nano, dataset, tmp_path, precision):
    path = export_onnx(nano, tmp_path / "m.onnx", class_names=COCO_NAMES, precision=precision, **SETTINGS)
    session = onnxruntime.InferenceSession(path)
    results = []
    for batch in evaluation_batches(dataset, SIZE, 8):
        inputs = {"images": batch["images"], "ratios": batch["ratios"]}
        boxes, scores, classes, count = session.run(None, inputs)
        valid = np.arange(boxes.shape[1]) < count[:, None]
        found = Detections(boxes, scores, classes, valid)
        results += from_detections(found, batch["indices"], dataset).to_results()
    assert score(dataset, results).figures["AP"] == pytest.approx(REFERENCE["stats"][0], abs=5e-4)
    tolerance = 0.002 if precision == "float32" else 0.01
    assert len(results) == pytest.approx(len(REFERENCE["detections"]), rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("nms", [True, False])
def test_runner_finds_what_the_detector_finds(nano, dataset, tmp_path, nms):
    detector = Detector(model=nano, **SETTINGS)
    path = export_onnx(nano, tmp_path / "m.onnx", class_names=COCO_NAMES, nms=nms, **SETTINGS)
    runner = OnnxDetector(path)
    for record in dataset.records:
        image = cv2.imread(str(record.path))
        boxes, scores, classes = runner(image)
        expected = detector(image)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-4)
        # Rounding decides the order of detections with nearly the same score.
        found, wanted = (
            np.column_stack([classes, boxes])[np.lexsort([*boxes.T.round(), classes])]
            for boxes, classes in ((boxes, classes), (expected.boxes, expected.classes))
        )
        np.testing.assert_allclose(found, wanted, atol=0.1)
