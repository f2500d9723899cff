"""Exported files of networks with other heads: the same detections as `Detector`, by a graph as simple as it can be."""

import functools
import re
import zipfile
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import jaxtyping
import numpy as np
import onnx
import onnxruntime
import pytest

from exported import export_onnx
from roadmap_networks import NETWORKS, SIZE, THRESHOLD, assert_same_detections, pictures, roadmap_model
from yolox_jax.config import ConfigError
from yolox_jax.export import onnx as onnx_file
from yolox_jax.export.onnx import LOWEST_OPSET
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.settings import ExportSettings
from yolox_jax.export.stablehlo import export_stablehlo
from yolox_jax.inference.detector import Detector
from yolox_jax.models import YOLOX
from yolox_jax.postprocess import decode

NAMES = ("red", "green", "blue")
RATIOS = np.array([1.0, 0.5], np.float32)
SETTINGS = {"score_threshold": THRESHOLD, "max_detections": 300}
SUPPRESSION_AND_LOOPS = {"NonMaxSuppression", "Loop", "Scan", "If", "NonZero"}


@functools.cache
def network(name: str) -> tuple[YOLOX, dict[str, np.ndarray]]:
    """A network, and what its detector finds in two pictures."""
    model = roadmap_model(name)
    found = Detector(model=model, input_size=SIZE, **SETTINGS).detect_batch(pictures(2), RATIOS)
    return model, {
        "boxes": np.asarray(found.boxes),
        "scores": np.asarray(found.scores),
        "classes": np.asarray(found.classes),
        "count": np.sum(found.valid, axis=1),
    }


def _slow(name: str):
    return pytest.param(name, marks=pytest.mark.slow)


def run_onnx(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_detections_of_the_detector(tmp_path, name):
    model, expected = network(name)
    path = export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=NAMES, **SETTINGS)
    assert_same_detections(run_onnx(path, images=pictures(2), ratios=RATIOS), expected)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert operators.isdisjoint(SUPPRESSION_AND_LOOPS) == model.end_to_end


@pytest.mark.parametrize(
    "name", ["coupled_anchors", _slow("decoupled_anchors"), _slow("end_to_end"), "finer_end_to_end"]
)
def test_stablehlo_gives_the_detections_of_the_detector(tmp_path, name):
    model, expected = network(name)
    jaxtyping.config.update("jaxtyping_disable", True)  # which cannot broadcast a symbolic batch size
    try:
        path = export_stablehlo(
            model, tmp_path / "m.stablehlo", ExportSettings(NAMES, SIZE, **SETTINGS), platforms=["cpu"]
        )
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    with zipfile.ZipFile(path) as file:
        program = jax.export.deserialize(bytearray(file.read("detect.bin")))
    found = {name: np.asarray(array) for name, array in program.call(pictures(2), RATIOS).items()}
    assert_same_detections(found, expected)
    # The composite operation `chlo.top_k` brings a definition by sorting, for compilers that do not know it.
    definition = re.compile(r"^  func\.func private @chlo\.top_k\.impl.*?^  }", re.MULTILINE | re.DOTALL)
    text, definitions = definition.subn("", program.mlir_module())
    assert definitions == model.end_to_end
    for operation in ("stablehlo.sort", "stablehlo.while"):
        assert (operation in text) != model.end_to_end


@pytest.mark.parametrize("name", ["decoupled_anchors", "coupled_anchors_end_to_end"])
def test_onnx_without_detections_gives_the_decoded_predictions(tmp_path, name):
    model, _ = network(name)
    path = export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=NAMES, nms=False)
    model.eval()
    raw = jax.jit(lambda images: model(images))(jnp.asarray(pictures(1), jnp.float32))
    expected = np.asarray(decode(raw, image_size=SIZE, per_cell=model.boxes_per_cell))
    found = run_onnx(path, images=pictures(1))["predictions"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("nms", [None, False])
def test_the_runner_suppresses_nothing_that_an_end_to_end_network_predicts(tmp_path, nms):
    model, expected = network("end_to_end")
    path = export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=NAMES, nms=nms, **SETTINGS)
    _, scores, _ = OnnxDetector(path)(pictures(1)[0])
    assert len(scores) == expected["count"][0]
    np.testing.assert_allclose(scores, expected["scores"][0, : len(scores)], rtol=1e-3)
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert metadata["iou_threshold"] == "1.0"
    assert metadata["output"] == ("detections" if nms is None else "predictions")


@pytest.mark.parametrize(
    ("max_detections", "options"), [(5, {"opset": LOWEST_OPSET}), (400, {"opset": 18}), (400, {"precision": "float16"})]
)
def test_any_number_of_detections_operators_of_all_versions_and_half_precision(tmp_path, max_detections, options):
    model, expected = network("coupled_anchors_end_to_end")
    settings = {"input_size": SIZE, "class_names": NAMES, "score_threshold": THRESHOLD, "batch": 2}
    path = export_onnx(model, tmp_path / "m.onnx", max_detections=max_detections, **settings, **options)
    found = run_onnx(path, images=pictures(2), ratios=RATIOS)
    assert {name: array.shape[1:] for name, array in found.items()} == {
        "boxes": (max_detections, 4),
        "scores": (max_detections,),
        "classes": (max_detections,),
        "count": (),
    }
    half = "precision" in options
    np.testing.assert_allclose(found["scores"][:, :5], expected["scores"][:, :5], rtol=0.05 if half else 1e-3)
    number = np.minimum(expected["count"], max_detections)
    np.testing.assert_allclose(found["count"], number, rtol=0.1 if half else 0)


def test_suppression_is_refused_for_end_to_end_networks(tmp_path):
    settings = ExportSettings(NAMES, SIZE, nms=True)
    for write in (onnx_file.export_onnx, export_stablehlo):
        with pytest.raises(ConfigError, match="nms asks for non-maximum suppression.*end-to-end.*Leave nms out"):
            write(network("end_to_end")[0], tmp_path / "m", settings)
    assert not list(tmp_path.iterdir())
