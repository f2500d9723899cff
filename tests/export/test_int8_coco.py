"""The published network in 8 bits on photographs: its AP, and faults that `verify` finds in spite of the rounding."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import yolox_jax.export
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.evaluation.verification import NamedImage, Verification, detector_like, verify_exported
from yolox_jax.export import yolox_detection
from yolox_jax.export.onnx_runner import OnnxDetector, Runtime
from yolox_jax.export.quantization import Quantization, QuantizedRuntime

SOME = 25


@pytest.fixture(scope="module")
def half(shared: Path, tmp_path_factory) -> Path:
    """Every second image."""
    folder = tmp_path_factory.mktemp("half")
    for path in sorted((shared / "data/coco_val2017_100/images").iterdir())[::2]:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def export(shared: Path, half: Path, path: Path, runtime: QuantizedRuntime, score_threshold: float) -> Path:
    weights = shared / "weights/yolox_nano.pth"
    quantization = Quantization(half, runtime=runtime)
    thresholds = {"score_threshold": score_threshold, "iou_threshold": 0.65}
    return yolox_jax.export.export(weights, path, precision="int8", quantization=quantization, **thresholds).path


def verification(
    shared: Path, path: Path, *, runtime: Runtime = "onnxruntime", most: int | None = None
) -> Verification:
    folder = shared / "data/coco_val2017_100"
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    images = (NamedImage(str(one.path), cv2.imread(str(one.path)), one.image_id) for one in dataset.records[:most])
    file = OnnxDetector(path, runtime=runtime)
    detector = detector_like(file, shared / "weights/yolox_nano.pth", path)
    return verify_exported(file, detector, images, dataset=None if most else dataset)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_network_loses_at_most_one_ap(shared, half, tmp_path, runtime):
    found = verification(shared, export(shared, half, tmp_path / "m.onnx", runtime, 0.01), runtime=runtime)
    assert found.aps is not None and found.aps[1] > found.aps[0] - 0.01
    assert found.agrees


@pytest.fixture(scope="module")
def file(shared: Path, half: Path, tmp_path_factory) -> Path:
    return export(shared, half, tmp_path_factory.mktemp("int8") / "m.onnx", "onnxruntime", 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["none", "one weight", "channels", "filters", "letterbox"])
def test_a_fault_is_noticed(shared, file, tmp_path, monkeypatch, fault):
    model = onnx.load(file)
    constants = {one.name: one for one in model.graph.initializer}
    stem = constants["backbone.backbone.stem.conv.conv.weight"]
    deep = constants["backbone.backbone.dark5.0.pconv.conv.weight/values"]
    values = onnx.numpy_helper.to_array(stem).copy()
    if fault == "one weight":
        values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= -1
    elif fault == "channels":
        values = np.ascontiguousarray(values[:, ::-1])
    elif fault == "filters":
        deep.CopyFrom(
            onnx.numpy_helper.from_array(np.ascontiguousarray(onnx.numpy_helper.to_array(deep)[::-1]), deep.name)
        )
    elif fault == "letterbox":
        monkeypatch.setattr(yolox_detection, "letterbox", centred)
    stem.CopyFrom(onnx.numpy_helper.from_array(values, stem.name))
    onnx.save(model, tmp_path / "faulty.onnx")
    assert verification(shared, tmp_path / "faulty.onnx", most=SOME).agrees == (fault == "none")


def centred(image: np.ndarray, size: tuple[int, int], padding: int) -> tuple[np.ndarray, float]:
    """A letterbox with the image in the middle, as other detectors have."""
    canvas, ratio = letterbox(image, size)
    free = [side - int(length * ratio) for side, length in zip(size, image.shape[:2], strict=True)]
    return np.roll(canvas, (free[0] // 2, free[1] // 2), axis=(0, 1)), ratio
