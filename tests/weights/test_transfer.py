"""Loading into models and exporting, and what the messages say."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from reference import procedural
from yolox_jax.models import create_model
from yolox_jax.weights import (
    WeightsError,
    describe,
    export_state_dict,
    load_state_dict,
    load_weights,
    read_weights,
    save_weights,
)
from yolox_jax.weights.description import Description

STATE_DICTS = json.loads((Path(__file__).parents[1] / "reference" / "state_dicts.json").read_text())


def _weights(name: str) -> dict[str, np.ndarray]:
    return {key: procedural.weight(key, tuple(shape)) for key, shape in STATE_DICTS[name]["state_dict"]}


def _shapes(name: str) -> dict[str, np.ndarray]:
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in STATE_DICTS[name]["state_dict"]}


def test_export_gives_back_what_was_loaded():
    given = _weights("nano")
    model = create_model("yolox_nano")
    report = load_state_dict(model, given)
    exported = export_state_dict(model)
    expected = {key: array for key, array in given.items() if not key.endswith("num_batches_tracked")}
    assert set(report.loaded) == exported.keys() == expected.keys()
    assert (report.skipped, report.missing) == ((), ())
    for key, array in expected.items():
        np.testing.assert_array_equal(exported[key], array)


def test_an_abstract_model_is_filled():
    model = nnx.eval_shape(lambda: create_model("yolox_nano"))
    load_state_dict(model, _weights("nano"))
    assert export_state_dict(model)["head.obj_preds.0.bias"].shape == (1,)


def test_half_precision_weights_become_float32_parameters():
    model = create_model("yolox_nano")
    load_state_dict(model, {key: array.astype(np.float16) for key, array in _weights("nano").items()})
    assert {array.dtype for array in export_state_dict(model).values()} == {np.dtype(np.float32)}


def test_published_weights_load_strictly_and_survive_safetensors(shared: Path, tmp_path: Path):
    model = create_model("yolox_nano")
    report = load_weights(model, shared / "weights" / "yolox_nano.pth")
    assert len(report.loaded) == 538
    save_weights(tmp_path / "w.safetensors", export_state_dict(model), {"variant": "yolox_nano"})
    again = create_model("yolox_nano", seed=1)
    load_weights(again, str(tmp_path / "w.safetensors"))
    published = read_weights(shared / "weights" / "yolox_nano.pth").state_dict
    for key, array in export_state_dict(again).items():
        np.testing.assert_array_equal(array, published[key])


@pytest.mark.parametrize("name", STATE_DICTS)
def test_shapes_tell_the_variant_and_the_classes(name: str):
    assert describe(_shapes(name)) == Description(f"yolox_{name}", 80)


def test_other_weights_are_not_described():
    with pytest.raises(WeightsError, match="not weights of a YOLOX variant"):
        describe({"layer1.weight": np.zeros((3, 3))})


def test_another_class_count_is_explained_and_changes_nothing():
    model = create_model("yolox_nano", 3)
    before = export_state_dict(model)
    with pytest.raises(WeightsError) as caught:
        load_state_dict(model, _shapes("nano"))
    message = str(caught.value)
    assert "weights of yolox_nano with 80 classes; the model is yolox_nano with 3 classes" in message
    assert "6 with a different shape: head.cls_preds.0" in message and "expected [3" in message
    assert "model.weights" in message
    for key, array in export_state_dict(model).items():
        np.testing.assert_array_equal(array, before[key])


def test_another_variant_is_explained_with_missing_and_unexpected_keys():
    with pytest.raises(WeightsError) as caught:
        load_state_dict(create_model("yolox_nano", 3), _shapes("tiny"))
    message = str(caught.value)
    assert "weights of yolox_tiny with 80 classes; the model is yolox_nano with 3 classes" in message
    assert "missing: " in message and "unexpected: " in message and "more)" in message


def test_tolerant_loading_takes_what_fits_and_says_what_it_left():
    given = _weights("nano")
    given["extra.weight"] = np.zeros(2, np.float32)
    del given["backbone.lateral_conv0.bn.bias"]
    model = create_model("yolox_nano", 3)
    before = export_state_dict(model)
    report = load_state_dict(model, given, strict=False)
    classes = {f"head.cls_preds.{level}.{leaf}" for level in range(3) for leaf in ("weight", "bias")}
    assert set(report.skipped) == classes | {"extra.weight"}
    assert set(report.missing) == classes | {"backbone.lateral_conv0.bn.bias"}
    assert len(report.loaded) == 538 - 7
    after = export_state_dict(model)
    for key in report.missing:
        np.testing.assert_array_equal(after[key], before[key])
    for key in report.loaded:
        np.testing.assert_array_equal(after[key], given[key])


def test_the_summary_says_what_became_of_the_class_head_and_of_the_others():
    report = load_state_dict(create_model("yolox_nano", 1), _shapes("nano"), strict=False)
    assert report.summary() == "loaded 532 tensors; 6 tensors of the class head reinitialised (80 → 1 class)"
    given = dict(_shapes("nano"))
    given["extra.weight"] = np.zeros(2, np.float32)
    del given["backbone.lateral_conv0.bn.bias"]
    assert load_state_dict(create_model("yolox_nano"), given, strict=False).summary() == (
        "loaded 537 tensors; 1 tensor not in the file and reinitialised: backbone.lateral_conv0.bn.bias; "
        "1 tensor of the file not used, because the model does not have them: extra.weight"
    )


def test_tolerant_loading_of_nothing_is_refused():
    with pytest.raises(WeightsError, match=r"does not match the model(.|\n)*1 unexpected: layer1\.weight"):
        load_state_dict(create_model("yolox_nano"), {"layer1.weight": np.zeros((3, 3))}, strict=False)
