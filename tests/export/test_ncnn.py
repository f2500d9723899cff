"""Networks in ncnn: the files, the runner, and what is refused. Needs the packages ncnn and pnnx."""

import dataclasses
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from alone import printed_detections, run_alone
from exported import export_onnx
from lively import lively_model
from published_nano import AP, IOU_THRESHOLD, SCORE_THRESHOLD
from roadmap_networks import SIZE as ROADMAP_SIZE
from roadmap_networks import pictures, roadmap_model, varied
from yolox_jax.config import ConfigError
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.evaluation.verification import Found, NamedImage, Tolerance, compare, verify_exported
from yolox_jax.export import ncnn_runner, yolox_detection
from yolox_jax.export.exported import open_exported
from yolox_jax.export.exporter import export
from yolox_jax.export.ncnn_runner import NcnnDetector
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.settings import ExportSettings
from yolox_jax.inference.detector import Detector
from yolox_jax.models import YOLOX

ncnn = pytest.importorskip("ncnn")
pytest.importorskip("onnx")
if importlib.util.find_spec("pnnx") is None:
    pytest.skip("pnnx is missing", allow_module_level=True)

from yolox_jax.export import ncnn as ncnn_export  # noqa: E402 (needs the packages above)

SIZE, NAMES = (64, 96), ("red", "green", "blue")
SETTINGS = ExportSettings(NAMES, SIZE, batch=1, nms=False, score_threshold=0.01)


@pytest.fixture(scope="module")
def model() -> YOLOX:
    return varied(lively_model(seed=1))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    return ncnn_export.export_ncnn(model, tmp_path_factory.mktemp("ncnn") / "m.param", SETTINGS)


def opened(path: Path) -> NcnnDetector:
    """Several threads would wait for each other without rest, and for the cores that other tests use."""
    return NcnnDetector(path, threads=1)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 255, (height, width, channels), np.uint8)


def copied(path: Path, folder: Path) -> Path:
    """The three files of a network, in another folder."""
    for suffix in (".bin", ".json", ".param"):
        shutil.copy(path.with_suffix(suffix), folder)
    return folder / path.name


def with_changed_stem(path: Path, folder: Path, change) -> Path:
    """A copy in which the first kernel, [16, 3, 6, 6] in float32 behind a tag of four bytes, is changed in place."""
    faulty = copied(path, folder)
    content = bytearray(faulty.with_suffix(".bin").read_bytes())
    stem = np.frombuffer(content, np.float32, 16 * 3 * 36, 4).reshape(16, 3, 6, 6)
    change(stem)
    faulty.with_suffix(".bin").write_bytes(content)
    return faulty


@pytest.mark.parametrize("shape", [(64, 96), (200, 100)])
def test_the_runner_finds_what_onnx_finds(model, exported, tmp_path, shape):
    image = noise(*shape)
    onnx_file = export_onnx(model, tmp_path / "m.onnx", class_names=NAMES, input_size=SIZE, score_threshold=0.01)
    expected = Found(*OnnxDetector(onnx_file)(image))
    assert len(expected.scores) > 10
    found = Found(*opened(exported)(image))
    assert compare(expected, found, 0.01, Tolerance(box_px=0.01, score=1e-5, changed=0.0)).changed == 0


@pytest.mark.parametrize(
    "name", ["coupled_anchors_end_to_end", pytest.param("finer_end_to_end", marks=pytest.mark.slow)]
)
def test_other_heads_are_decoded_as_in_onnx(tmp_path, name):
    model, image = roadmap_model(name), pictures(1)[0]
    settings = dataclasses.replace(SETTINGS, input_size=ROADMAP_SIZE, max_detections=300)
    path = ncnn_export.export_ncnn(model, tmp_path / "m.param", settings)
    stored = {"class_names": NAMES, "input_size": ROADMAP_SIZE, "score_threshold": 0.01, "max_detections": 300}
    _, scores, _ = OnnxDetector(export_onnx(model, tmp_path / "m.onnx", nms=False, **stored))(image)
    boxes, found, _ = opened(path)(image)
    assert len(found) == len(scores) > 10 and np.isfinite(boxes).all()
    np.testing.assert_allclose(found, scores, rtol=1e-3)


@pytest.mark.slow
def test_images_of_sixteen_bits_are_scaled(tmp_path):
    model = varied(lively_model(seed=1, channels=4))
    path = ncnn_export.export_ncnn(model, tmp_path / "m.param", dataclasses.replace(SETTINGS, bits=16))
    image = noise(64, 96, 4).astype(np.uint16) * 257
    detector = opened(path)
    assert (detector.channels, detector.dtype) == (4, np.uint16)
    onnx_file = export_onnx(
        model, tmp_path / "m.onnx", class_names=NAMES, input_size=SIZE, score_threshold=0.01, bits=16
    )
    _, scores, _ = detector(image)
    np.testing.assert_allclose(scores, OnnxDetector(onnx_file)(image)[1][: len(scores)], rtol=1e-4)
    assert len(scores) > 3


def test_a_float32_file_is_computed_in_float32_whatever_the_runtime_prefers(exported):
    outputs = []
    for prefers_half in (False, True):
        network = ncnn.Net()
        network.opt.num_threads = 1
        network.opt.use_bf16_storage = network.opt.use_fp16_arithmetic = network.opt.use_fp16_storage = prefers_half
        assert network.load_param(str(exported)) == network.load_model(str(exported.with_suffix(".bin"))) == 0
        extractor = network.create_extractor()
        pixels = np.float32(noise(*SIZE)).transpose(2, 0, 1).copy()
        extractor.input("images", ncnn.Mat(pixels))
        outputs.append(np.array(extractor.extract("raw")[1]))
    np.testing.assert_array_equal(*outputs)


def test_float16_halves_the_weights_and_rounds_small_ones_rather_than_dropping_them(tmp_path):
    exported, path = (
        ncnn_export.export_ncnn(
            lively_model(seed=1), tmp_path / f"{precision}.param", dataclasses.replace(SETTINGS, precision=precision)
        )
        for precision in ("float32", "float16")
    )
    whole, half = (file.with_suffix(".bin").read_bytes() for file in (exported, path))
    assert len(half) < 0.55 * len(whole)
    stem = np.frombuffer(whole, np.float32, 16 * 3 * 36, 4)
    assert (np.abs(stem) < 6e-5).any()
    np.testing.assert_array_equal(np.frombuffer(half, np.float16, len(stem), 4), stem.astype(np.float16))
    _, scores, _ = opened(path)(noise(64, 96))
    np.testing.assert_allclose(scores, opened(exported)(noise(64, 96))[1], rtol=0.02)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("m.param", {"nms": True}, "--nms does not apply to --format ncnn"),
        ("m.param", {"batch": 2}, "--batch applies only to --format stablehlo or onnx or triton"),
        ("notes.param", {}, "also writes notes.json, which exists"),
    ],
)
def test_what_does_not_suit_ncnn_is_refused_before_anything_is_read(tmp_path, monkeypatch, path, options, message):
    monkeypatch.chdir(tmp_path)
    Path("notes.json").write_text("mine")
    with pytest.raises(ConfigError, match=message):
        export("none.pth", path, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.json"]


def test_files_that_cannot_be_run_are_refused_with_the_reason(exported, tmp_path):
    path = copied(exported, tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ConfigError, match=r"m\.param needs m\.bin beside it"):
        open_exported(path)
    path.with_suffix(".bin").touch()
    path.write_text("no network")
    with pytest.raises(ConfigError, match=r"ncnn .* cannot load .*m\.param"):
        open_exported(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ConfigError, match=r"m\.json is damaged"):
        open_exported(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ConfigError, match="was not exported by yolox_jax: its metadata has no 'class_names'"):
        open_exported(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ConfigError, match=r"m\.param needs m\.json beside it"):
        open_exported(path)


def test_without_ncnn_the_extra_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(ConfigError, match=r"needs the package ncnn: pip install 'yolox-jax\[ncnn\]'"):
        open_exported(exported)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["none", "one weight", "channels", "letterbox"])
def test_verification_notices_a_fault(model, exported, tmp_path, monkeypatch, fault):
    def one_weight(stem: np.ndarray) -> None:
        stem[0, 0, 2, 2] *= 1.5

    def channels(stem: np.ndarray) -> None:
        stem[:] = stem[:, ::-1].copy()

    def centred(image: np.ndarray, size: tuple[int, int], padding: int) -> tuple[np.ndarray, float]:
        canvas, ratio = letterbox(image, size, padding)
        return np.roll(canvas, (size[1] - int(image.shape[1] * ratio)) // 2, axis=1), ratio

    letterbox = yolox_detection.letterbox
    changes = {"one weight": one_weight, "channels": channels}
    path = with_changed_stem(exported, tmp_path, changes[fault]) if fault in changes else exported
    if fault == "letterbox":
        monkeypatch.setattr(yolox_detection, "letterbox", centred)
    detector = Detector(model=model, class_names=NAMES, input_size=SIZE, score_threshold=0.01)
    images = [NamedImage(str(number), noise(60 + number, 80)) for number in range(3)]
    verification = verify_exported(opened(path), detector, images)
    assert verification.num_detections > 10 and verification.agrees == (fault == "none")


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 5e-4), ("float16", 2e-3)])
def test_published_weights_give_their_average_precision_and_run_alone(shared, tmp_path, precision, tolerance):
    folder, weights = shared / "data/coco_val2017_100", shared / "weights/yolox_nano.pth"
    thresholds = {"score_threshold": SCORE_THRESHOLD, "iou_threshold": IOU_THRESHOLD}
    exported = export(weights, tmp_path / "nano.param", precision=precision, **thresholds)
    detector = Detector(weights=weights, **thresholds)
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    images = [NamedImage(one.path.name, cv2.imread(str(one.path)), one.image_id) for one in dataset.records]
    runner = opened(exported.path)
    verification = verify_exported(runner, detector, images, dataset=dataset)
    assert verification.agrees and verification.aps is not None
    assert verification.aps == (pytest.approx(AP, abs=5e-4), pytest.approx(AP, abs=tolerance))

    cv2.imwrite(str(tmp_path / "image.png"), images[0].pixels)
    done = run_alone("ncnn", tmp_path, "nano.param", "image.png", "--output", "drawn.png")
    assert done.returncode == 0, done.stderr
    _, scores, classes = runner(images[0].pixels)
    printed = printed_detections(done.stdout)
    assert [one.class_name for one in printed] == [runner.class_names[index] for index in classes]
    np.testing.assert_allclose([one.score for one in printed], scores, atol=6e-4)
    assert cv2.imread(str(tmp_path / "drawn.png")).shape == images[0].pixels.shape


def test_anchor_points_are_those_of_the_package():
    from yolox_jax.anchors import anchor_points

    for strides, per_cell in (((8, 16, 32), 1), ((4, 8, 16, 32), 2)):
        cells, sides = ncnn_runner.anchor_points(SIZE, list(strides), per_cell)
        expected_cells, expected_sides = anchor_points(SIZE, per_cell, strides)
        np.testing.assert_array_equal(cells.T, expected_cells)
        np.testing.assert_array_equal(sides, expected_sides)


def test_metadata_beside_say_how_the_output_is_decoded(exported):
    metadata = json.loads(exported.with_suffix(".json").read_text())
    assert (metadata["output"], metadata["strides"], metadata["boxes_per_cell"]) == ("raw", "[8, 16, 32]", "1")
