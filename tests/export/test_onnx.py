"""Exported files against the original's outputs, and what is in them."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

from exported import export_onnx
from reference import procedural
from yolox_jax.config import ConfigError
from yolox_jax.export.onnx import LOWEST_OPSET, OPSET
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, load_state_dict
from yolox_jax.weights.coco_names import COCO_NAMES

SIZE = (64, 96)
NAMES = ("red", "green", "blue")
REFERENCE = Path(__file__).parents[1] / "reference"
STATE_DICTS = json.loads((REFERENCE / "state_dicts.json").read_text())
LOW = 0.01
"""A score threshold that part of the predictions pass."""


def run(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def pictures(number: int) -> np.ndarray:
    return procedural.images((number, *SIZE, 3), 0).astype(np.uint8)


def _slow(name: str):
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["nano", "tiny", _slow("s"), _slow("m"), _slow("l"), _slow("x"), "darknet53"])
def test_predictions_equal_the_originals(name, tmp_path):
    reference = np.load(REFERENCE / f"forward_{name}.npz")
    state_dict = {
        key: reference[f"running/{key}"]
        if f"running/{key}" in reference
        else procedural.weight(key, tuple(shape), int(reference["seed"]))
        for key, shape in STATE_DICTS[name]["state_dict"]
    }
    model = nnx.eval_shape(lambda: create_model(f"yolox_{name}"))
    load_state_dict(model, state_dict)
    images = procedural.images(tuple(reference["image_shape"]), int(reference["image_seed"]))
    path = export_onnx(model, tmp_path / "m.onnx", input_size=images.shape[1:3], class_names=COCO_NAMES, nms=False)
    predictions, expected = run(path, images=images.astype(np.uint8))["predictions"], reference["decoded"]
    path.unlink()  # hundreds of MB
    # Of the largest entry; rounding adds up with depth, and differs between processors.
    tolerance = {"l": 2e-3, "x": 5e-3}.get(name, 1e-3)
    for columns in (slice(0, 4), slice(4, None)):
        difference = np.abs(predictions[..., columns] - expected[..., columns]).max()
        assert difference < tolerance * np.abs(expected[..., columns]).max()


def test_float16_is_close_and_half_the_size(model, tmp_path):
    paths = [
        export_onnx(model, tmp_path / name, input_size=SIZE, class_names=NAMES, precision=name, nms=False)
        for name in ("float32", "float16")
    ]
    full, half = (run(path, images=pictures(2))["predictions"] for path in paths)
    assert half.dtype == np.float32
    assert 0 < np.abs(half[..., :4] - full[..., :4]).max() < 0.02 * full[..., :4].max()
    assert np.abs(half[..., 4:] - full[..., 4:]).max() < 0.02
    assert paths[1].stat().st_size < 0.56 * paths[0].stat().st_size


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_any_number_of_images_is_taken_and_each_gets_its_own_detections(model, tmp_path, precision):
    settings = {"score_threshold": LOW, "max_detections": 20, "precision": precision}
    path = export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=NAMES, **settings)
    images, ratios = pictures(3), np.array([1.0, 0.5, 2.0], np.float32)
    together = run(path, images=images, ratios=ratios)
    assert {name: (array.dtype.name, array.shape) for name, array in together.items()} == {
        "boxes": ("float32", (3, 20, 4)),
        "scores": ("float32", (3, 20)),
        "classes": ("int32", (3, 20)),
        "count": ("int32", (3,)),
    }
    assert (together["count"] > 0).all()
    for place in range(3):
        alone = run(path, images=images[place : place + 1], ratios=np.ones(1, np.float32))
        np.testing.assert_allclose(alone["scores"][0], together["scores"][place], rtol=1e-4)
        np.testing.assert_array_equal(alone["classes"][0], together["classes"][place])
        np.testing.assert_allclose(alone["boxes"][0], together["boxes"][place] * ratios[place], rtol=1e-4, atol=1e-2)


def test_a_fixed_batch_is_the_only_one_taken(model, tmp_path):
    path = export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=NAMES, batch=2)
    assert run(path, images=pictures(2), ratios=np.ones(2, np.float32))["count"].shape == (2,)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(path, images=pictures(1), ratios=np.ones(1, np.float32))


@pytest.mark.parametrize("opset", [LOWEST_OPSET, 18, 21])
def test_operators_of_all_versions_give_the_same(model, tmp_path, opset):
    settings = {"input_size": SIZE, "class_names": NAMES, "score_threshold": LOW, "max_detections": 20}
    inputs = {"images": pictures(1), "ratios": np.ones(1, np.float32)}
    path = export_onnx(model, tmp_path / "m.onnx", opset=opset, **settings)
    assert onnx.load(path).opset_import[0].version == opset
    found, expected = run(path, **inputs), run(export_onnx(model, tmp_path / "default.onnx", **settings), **inputs)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-4)


def test_the_file_says_what_it_is(model, tmp_path):
    path = export_onnx(
        model,
        tmp_path / "new" / "m.onnx",
        input_size=SIZE,
        class_names=["röd", "green", "blue"],
        score_threshold=0.1,
        iou_threshold=0.6,
        class_agnostic=True,
        max_detections=7,
    )
    file = onnx.load(path)
    metadata = {entry.key: entry.value for entry in file.metadata_props}
    producer = metadata.pop("producer")
    assert producer == f"{file.producer_name} {file.producer_version}" and file.producer_version
    assert metadata == {
        "output": "detections",
        "variant": "yolox_nano",
        "class_names": '["röd", "green", "blue"]',
        "input_size": "[64, 96]",
        "layout": "NHWC",
        "channels": "3",
        "bits": "8",
        "colour_order": "BGR",
        "padding": "114",
        "score_threshold": "0.1",
        "iou_threshold": "0.6",
        "class_agnostic": "true",
        "max_detections": "7",
        "precision": "float32",
    }
    assert file.opset_import[0].version == OPSET
    assert file.ir_version == 8  # that of opset 17: a newer one would keep older runtimes out


def test_the_model_stays_as_it_was(model, tmp_path):
    before = export_state_dict(model)
    export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=NAMES)
    after = export_state_dict(model)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_a_file_stays_until_the_new_one_has_passed_the_check(model, tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_text("old")

    def refuse(*args, **kwargs):
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(onnx.checker.ValidationError):
        export_onnx(model, path, input_size=SIZE, class_names=NAMES)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": (64, 100)}, "64 x 100.*multiples of 32"),
        ({"input_size": (0, 64)}, "0 x 64.*multiples of 32"),
        ({"class_names": ["a"]}, "1 class names.*3 classes"),
        ({"score_threshold": -0.1}, "score threshold -0.1.*between 0 and 1"),
        ({"score_threshold": 25}, "score threshold 25.*between 0 and 1"),
        ({"iou_threshold": 0.0}, "IoU threshold 0.0.*above 0"),
        ({"iou_threshold": 65}, "IoU threshold 65.*at most 1"),
        ({"max_detections": 0}, "max_detections must be at least 1; got 0"),
        ({"batch": 0}, "batch must be at least 1.*got 0"),
        ({"opset": 12}, "opset must be from 13 .*got 12"),
        ({"opset": 1000}, "opset must be from 13 .*got 1000"),
    ],
)
def test_invalid_settings_are_named(model, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        export_onnx(model, tmp_path / "m.onnx", **{"input_size": SIZE, "class_names": NAMES, **settings})
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_float16_are_named(tmp_path):
    model = create_model("yolox_nano", 1)
    large = model.head.reg_preds[1].bias
    large.set_value(large[...] + 1e5)
    export_onnx(model, tmp_path / "full.onnx", input_size=SIZE, class_names=["a"])
    with pytest.raises(ConfigError, match=r"reg_obj_preds\.1\.bias.*1e\+05.*beyond the range of float16"):
        export_onnx(model, tmp_path / "half.onnx", input_size=SIZE, class_names=["a"], precision="float16")


def test_without_the_package_onnx_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "yolox_jax.export.onnx")
    with pytest.raises(ConfigError, match=r"pip install 'yolox-jax\[onnx\]'"):
        import_module("yolox_jax.export.onnx")
