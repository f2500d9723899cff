"""The exported function against the detector it was made from."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from published_nano import (
    IOU_THRESHOLD,
    MAX_DETECTIONS,
    SCORE_THRESHOLD,
    SIZE,
    assert_same_detections,
    detections_on_coco,
)
from yolox_jax.config import ConfigError
from yolox_jax.export.settings import ExportSettings
from yolox_jax.export.stablehlo import export_stablehlo
from yolox_jax.inference.detector import Detector
from yolox_jax.postprocess import decode
from yolox_jax.weights import read_model

SMALL = (64, 96)
LOW = 1e-9
"""A score threshold that everything passes."""
NAMES = ("red", "green", "blue")

RUN_ALONE = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("yolox_jax", "flax", "optax"):
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
import zipfile
import jax.export
import numpy as np

with zipfile.ZipFile(sys.argv[1]) as file:
    detect = jax.export.deserialize(bytearray(file.read("detect.bin"))).call
given = np.load(sys.argv[2])
np.savez(sys.argv[3], **detect(given["images"], given["ratios"]))
"""


@pytest.fixture(scope="module", autouse=True)
def _unchecked_shapes():
    """The checker of shapes cannot broadcast a symbolic batch size."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.stablehlo"
    export_stablehlo(model, path, ExportSettings(NAMES, SMALL, score_threshold=LOW, max_detections=20))
    return path


def load(path: Path):
    with zipfile.ZipFile(path) as file:
        return jax.export.deserialize(bytearray(file.read("detect.bin")))


@pytest.mark.parametrize("batch", [1, 3])
def test_any_number_of_images_gives_what_the_detector_gives(model, exported, batch):
    detector = Detector(model=model, input_size=SMALL, score_threshold=LOW, max_detections=20)
    images = np.random.default_rng(0).integers(0, 255, (batch, *SMALL, 3), np.uint8)
    ratios = np.linspace(0.5, 2.0, batch, dtype=np.float32)
    expected = detector.detect_batch(images, ratios)
    found = load(exported).call(images, ratios)
    assert set(found) == {"boxes", "scores", "classes", "count"}
    np.testing.assert_array_equal(found["count"], expected.valid.sum(axis=1))
    np.testing.assert_array_equal(found["classes"], expected.classes)
    np.testing.assert_allclose(found["scores"], expected.scores, rtol=1e-4)
    np.testing.assert_allclose(found["boxes"], expected.boxes, rtol=1e-4, atol=1e-2)


def test_it_runs_where_this_package_cannot_be_imported(exported, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (2, *SMALL, 3), np.uint8)
    ratios = np.ones(2, np.float32)
    np.savez(tmp_path / "given.npz", images=images, ratios=ratios)
    words = [sys.executable, "-c", RUN_ALONE, exported, tmp_path / "given.npz", tmp_path / "found.npz"]
    run = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    expected = load(exported).call(images, ratios)
    with np.load(tmp_path / "found.npz") as found:
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)


def test_it_is_made_for_every_platform_and_says_what_it_holds(exported):
    assert load(exported).platforms == ("cpu", "cuda", "tpu")
    with zipfile.ZipFile(exported) as file:
        metadata = json.loads(file.read("metadata.json"))
    assert json.loads(metadata["class_names"]) == list(NAMES)
    assert json.loads(metadata["input_size"]) == list(SMALL)
    assert json.loads(metadata["score_threshold"]) == LOW
    assert (metadata["variant"], metadata["colour_order"], metadata["padding"]) == ("yolox_nano", "BGR", "114")


def test_without_suppression_it_gives_the_decoded_predictions(model, tmp_path):
    path = tmp_path / "new" / "raw.stablehlo"
    settings = ExportSettings(NAMES, SMALL, batch=1, nms=False)
    assert export_stablehlo(model, str(path), settings, platforms=["cpu"]) == path
    images = np.random.default_rng(0).integers(0, 255, (1, *SMALL, 3), np.uint8)
    found = load(path).call(images)["predictions"]
    model.eval()
    expected = np.asarray(decode(nnx.jit(lambda model, x: model(x))(model, jnp.float32(images)), image_size=SMALL))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert list(path.parent.iterdir()) == [path], "nothing half written is left"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": (100, 96)}, "100 x 96.*multiples of 32"),
        ({"score_threshold": 1.5}, "score threshold 1.5"),
        ({"iou_threshold": 0.0}, "IoU threshold 0.0"),
        ({"precision": "int4"}, "precision 'int4'"),
        ({"batch": 0}, "batch must be at least 1.*got 0"),
        ({"max_detections": 0}, "max_detections must be at least 1; got 0"),
    ],
)
def test_invalid_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        ExportSettings(**{"class_names": NAMES, "input_size": SMALL, **settings})


def test_8_bits_are_refused(model, tmp_path):
    with pytest.raises(ConfigError, match="invalid precision 'int8'"):
        export_stablehlo(model, tmp_path / "x.stablehlo", ExportSettings(NAMES, SMALL, precision="int8"))


def test_an_unknown_platform_is_named(model, tmp_path):
    with pytest.raises(ConfigError, match=r"cpu, cuda, tpu; got .*rocm2"):
        export_stablehlo(model, tmp_path / "x.stablehlo", ExportSettings(NAMES, SMALL), platforms=["rocm2"])


@pytest.mark.slow
def test_detections_of_the_published_weights_are_those_of_the_detector(shared, tmp_path):
    weights, path = shared / "weights/yolox_nano.pth", tmp_path / "nano.stablehlo"
    thresholds = {"score_threshold": SCORE_THRESHOLD, "iou_threshold": IOU_THRESHOLD, "max_detections": MAX_DETECTIONS}
    detector = Detector(weights=weights, **thresholds)
    model, _ = read_model(weights)
    export_stablehlo(model, path, ExportSettings(detector.class_names, SIZE, **thresholds))
    call = jax.jit(load(path).call)

    def of_detector(images, ratios):
        found = detector.detect_batch(images, ratios)
        return tuple(map(np.asarray, (found.boxes, found.scores, found.classes, found.valid.sum(axis=1))))

    def of_file(images, ratios):
        found = call(images, ratios)
        return tuple(np.asarray(found[name]) for name in ("boxes", "scores", "classes", "count"))

    expected = detections_on_coco(shared, of_detector)
    assert_same_detections(expected, expected)
    assert_same_detections(detections_on_coco(shared, of_file), expected)
