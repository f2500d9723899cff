"""Exports of networks for other images than colours of 8 bits."""

import json
import zipfile

import cv2
import jax
import numpy as np
import onnxruntime
import pytest

from exported import export_onnx
from lively import lively_model
from yolox_jax.config import ConfigError
from yolox_jax.data.letterbox import letterbox
from yolox_jax.export import onnx_runner
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.settings import ExportSettings
from yolox_jax.export.stablehlo import export_stablehlo
from yolox_jax.export.yolox_detection import read_image
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.input.frames import Frames

SIZE, NAMES = (64, 96), ("red", "green", "blue")
BANDS = np.random.default_rng(0).integers(0, 65536, (70, 90, 4)).astype(np.uint16)


@pytest.fixture(scope="module")
def detector_and_model():
    model = lively_model(seed=1, channels=4)
    detector = Detector(
        model=model, class_names=NAMES, input_size=SIZE, bits=16, score_threshold=0.01, max_detections=20
    )
    return detector, model


def test_files_give_the_detections_of_the_detector(detector_and_model, tmp_path, capsys):
    detector, model = detector_and_model
    expected = detector(BANDS)
    assert len(expected) > 3
    settings = {"input_size": SIZE, "bits": 16, "score_threshold": 0.01, "max_detections": 20}
    onnx_file = export_onnx(model, tmp_path / "m.onnx", class_names=NAMES, **settings)
    runner = OnnxDetector(onnx_file)
    assert (runner.channels, runner.dtype) == (4, np.uint16)
    stablehlo = export_stablehlo(
        model, tmp_path / "m.stablehlo", ExportSettings(NAMES, batch=1, **settings), platforms=["cpu"]
    )
    with zipfile.ZipFile(stablehlo) as file:
        detect = jax.export.deserialize(bytearray(file.read("detect.bin"))).call
        metadata = json.loads(file.read("metadata.json"))
    assert (metadata["channels"], metadata["bits"], metadata["padding"]) == ("4", "16", "29298")
    image, ratio = letterbox(BANDS, SIZE)
    found = detect(image[None], np.array([ratio], np.float32))
    count = int(found["count"][0])
    for boxes, scores, classes in (
        runner(BANDS),
        tuple(np.asarray(found[key][0, :count]) for key in ("boxes", "scores", "classes")),
    ):
        np.testing.assert_allclose(boxes, expected.boxes, atol=0.02)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-4)
        np.testing.assert_array_equal(classes, expected.classes)

    # The runner as a program, with an array and with a stack of pages.
    for name in ("bands.npy", "bands.tif"):
        path = tmp_path / name
        np.save(path, BANDS) if name.endswith("npy") else cv2.imwritemulti(str(path), list(np.moveaxis(BANDS, 2, 0)))
        assert onnx_runner.main([str(onnx_file), str(path), "--output", str(tmp_path / "drawn.png")]) == 0
        assert len(capsys.readouterr().out.splitlines()) == len(expected)
        assert cv2.imread(str(tmp_path / "drawn.png")).shape == (70, 90, 3)
        read = detector(path)
        np.testing.assert_array_equal(read.boxes, expected.boxes)
        assert read.plot().shape == (70, 90, 3)
    np.save(tmp_path / "bands.npy", BANDS[..., :3])
    assert onnx_runner.main([str(onnx_file), str(tmp_path / "bands.npy")]) == 2
    assert "must be a uint16 array [height, width, 4]; got" in capsys.readouterr().err
    (tmp_path / "bands.npy").write_bytes(b"no array")
    assert onnx_runner.main([str(onnx_file), str(tmp_path / "bands.npy")]) == 2
    assert "bands.npy is not an image that can be read" in capsys.readouterr().err


def test_detector_takes_what_can_be_converted_and_names_what_cannot(detector_and_model):
    detector, _ = detector_and_model
    narrow = (BANDS // 257).astype(np.uint8)
    np.testing.assert_array_equal(detector(narrow).boxes, detector(narrow.astype(np.uint16) * np.uint16(257)).boxes)
    with pytest.raises(ValueError, match="ndarray has 3 channels of 16 bits instead of 4"):
        detector(BANDS[..., :3])
    video = Frames((frame for frame in ()), None, name="street", rate=25.0)
    with pytest.raises(
        ConfigError, match="street has colours, but the network takes images with 4 channels of 16 bits"
    ):
        next(detector.stream(video))


def test_sixteen_bits_are_scaled_before_float16(tmp_path):
    """Its largest value is 65504."""
    model = lively_model(seed=1, channels=1)
    path = export_onnx(
        model, tmp_path / "m.onnx", class_names=NAMES, input_size=SIZE, bits=16, precision="float16", nms=False
    )
    session = onnxruntime.InferenceSession(str(path))
    white = np.full((1, *SIZE, 1), 65535, np.uint16)
    (predictions,) = session.run(["predictions"], {"images": white})
    assert np.isfinite(predictions).all()


def test_runner_reads_files_as_its_network_takes_them(tmp_path):
    path = str(tmp_path / "deep.png")
    cv2.imwrite(path, BANDS[..., :3])
    assert read_image(path, 3, np.dtype(np.uint8)).dtype == np.uint8
    np.testing.assert_array_equal(read_image(path, 3, np.dtype(np.uint16)), BANDS[..., :3])
    assert read_image(path, 1, np.dtype(np.uint8)).shape == (70, 90, 1)
