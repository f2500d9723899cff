"""Every route to deployment, as a user goes it: an exported file and the copied programs, in an empty folder.

The programs run in processes that can import neither this package nor, save that for StableHLO, jax.
"""

import shutil
from pathlib import Path

import pytest

import yolox_jax.export
from alone import PACKAGES, Detection, printed_detections, run_alone
from yolox_jax.inference.detector import Detector

IMAGES = ("000000000139.jpg", "000000000802.jpg")
THRESHOLD = 0.3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "weights/yolox_nano.pth"


@pytest.fixture(scope="module")
def expected(shared: Path, weights: Path) -> dict[str, list[Detection]]:
    """What the detector finds, by the name of the image."""
    detector = Detector(weights=weights, score_threshold=THRESHOLD)
    found = {name: detector(shared / "data/coco_val2017_100/images" / name) for name in IMAGES}
    return {
        name: [Detection(one.class_name, one.score, one.box) for one in detections]
        for name, detections in found.items()
    }


@pytest.mark.parametrize(
    ("format", "file", "options", "words"),
    [
        ("onnx", "m.onnx", {}, []),
        ("onnx", "m.onnx", {"nms": False}, []),
        ("onnx", "m.onnx", {}, ["--runtime", "openvino"]),
        ("litert", "m.tflite", {}, []),
        ("stablehlo", "m.stablehlo", {"platforms": ["cpu"], "batch": 1}, []),
    ],
    ids=["onnxruntime", "onnxruntime, no-nms", "openvino", "litert", "stablehlo"],
)
def test_copied_programs_find_what_the_detector_finds(
    shared, weights, expected, tmp_path, format, file, options, words
):
    exported = yolox_jax.export(weights, tmp_path / "exported" / file, score_threshold=THRESHOLD, **options)
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(exported.path, folder)
    blocked = [name for name in PACKAGES if format != "stablehlo" or name not in ("jax", "jaxlib")]
    for name in IMAGES:
        shutil.copy(shared / "data/coco_val2017_100/images" / name, folder)
        done = run_alone(format, folder, file, name, *words, blocked=blocked)
        assert done.returncode == 0, done.stderr
        assert_same(printed_detections(done.stdout), expected[name])


def assert_same(found: list[Detection], expected: list[Detection]) -> None:
    """Compare detections in any order, to 0.1 px and 0.001."""
    assert len(found) == len(expected) > 0
    for one in expected:
        assert any(
            other.class_name == one.class_name
            and abs(other.score - one.score) < 1e-3
            and abs(other.box - one.box).max() < 0.1
            for other in found
        ), one
