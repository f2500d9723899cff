"""Files for LiteRT: they predict what those for ONNX Runtime predict, of every network."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from exported import export_onnx
from lively import lively_model
from roadmap_networks import NETWORKS, SIZE, pictures, roadmap_model
from yolox_jax.export.litert import export_litert
from yolox_jax.export.settings import ExportSettings
from yolox_jax.models import YOLOX

NAMES = ("red", "green", "blue")


def predictions_of(path: Path, images: np.ndarray) -> np.ndarray:
    return Interpreter(str(path)).get_signature_runner()(images=images)["predictions"]


def assert_same_predictions(model: YOLOX, folder: Path, images: np.ndarray, *, bits: int = 8) -> None:
    settings = {"input_size": images.shape[1:3], "bits": bits, "nms": False, "batch": 1}
    onnx_file = export_onnx(model, folder / "m.onnx", class_names=NAMES, **settings)
    (expected,) = onnxruntime.InferenceSession(onnx_file).run(["predictions"], {"images": images})
    found = predictions_of(export_litert(model, folder / "m.tflite", ExportSettings(NAMES, **settings)), images)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_roadmap_predict_what_they_predict_in_onnx(tmp_path, name):
    assert_same_predictions(roadmap_model(name), tmp_path, pictures(1))


@pytest.mark.parametrize("variant", ["yolox_tiny", pytest.param("yolox_darknet53", marks=pytest.mark.slow)])
def test_full_convolutions_and_other_activations(tmp_path, variant):
    assert_same_predictions(lively_model(2, variant), tmp_path, pictures(1))


def test_sixteen_bits_and_four_channels(tmp_path):
    images = np.random.default_rng(0).integers(0, 65536, (1, *SIZE, 4)).astype(np.uint16)
    assert_same_predictions(lively_model(1, channels=4), tmp_path, images, bits=16)
