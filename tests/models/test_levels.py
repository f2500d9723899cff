"""Networks with levels besides those of YOLOX: strides 4 and 64."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import numpy_twins
from exported import export_onnx
from lively import lively_model
from started import scalars_at, started
from yolox_jax.config import LEVELS, STRIDES, Config, ConfigError, ModelConfig, TrainConfig
from yolox_jax.inference.detector import Detector
from yolox_jax.models import create_model, summarize
from yolox_jax.models.yolox import YOLOX
from yolox_jax.postprocess import decode
from yolox_jax.training.validation import averaged_model
from yolox_jax.weights import export_state_dict, load_state_dict, read_model, save_weights
from yolox_jax.weights.description import describe, describe_model
from yolox_jax.weights.levels import level_of
from yolox_jax.weights.names import named_variables, original_shape

SIZE = (64, 128)
ALL = LEVELS[-1]
IMAGES = np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3)).astype(np.float32)


def _nano(strides: tuple[int, ...]) -> ModelConfig:
    return ModelConfig(variant="yolox_nano", strides=strides)


def _predict(model: YOLOX) -> np.ndarray:
    model.eval()
    graphdef, state = nnx.split(model)
    forward = jax.jit(
        lambda state: nnx.merge(graphdef, state)(jnp.asarray(IMAGES)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return np.asarray(forward(state))


def _of_levels(raw: np.ndarray, strides: tuple[int, ...], chosen: tuple[int, ...]) -> np.ndarray:
    return raw[:, np.isin(numpy_twins.anchors(SIZE, strides)[:, 2], chosen)]


@pytest.fixture(scope="module")
def three_levels() -> YOLOX:
    return lively_model(1)


@pytest.fixture(scope="module")
def all_levels(three_levels: YOLOX) -> YOLOX:
    """All levels, from the weights of three and weights of their own."""
    model = lively_model(2, _nano(ALL))
    load_state_dict(model, export_state_dict(three_levels), strict=False)
    return model


@pytest.mark.parametrize(
    ("variant", "head", "strides"),
    [*(("yolox_s", "decoupled", strides) for strides in LEVELS[1:]), ("yolox_darknet53", "coupled", ALL)],
)
def test_each_level_predicts_in_each_of_its_cells_and_shapes_tell_the_levels(
    variant: Any, head: Any, strides: tuple[int, ...]
) -> None:
    config = ModelConfig(variant=variant, head=head, strides=strides, end_to_end=True)
    model = nnx.eval_shape(lambda: create_model(config, 3))
    summary = summarize(model, SIZE)
    assert summary.anchors == len(numpy_twins.anchors(SIZE, strides))
    usual = summarize(nnx.eval_shape(lambda: create_model(dataclasses.replace(config, strides=STRIDES), 3)), SIZE)
    assert summary.gflops > usual.gflops and summary.parameters > usual.parameters
    shapes = {name: original_shape(variable.shape) for name, variable in named_variables(model).items()}
    found = describe({name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()})
    assert found == describe_model(model) and found.strides == strides


def test_added_levels_leave_the_predictions_of_the_others_unchanged(three_levels: YOLOX, all_levels: YOLOX) -> None:
    usual, more = _predict(three_levels), _predict(all_levels)
    np.testing.assert_allclose(_of_levels(more, ALL, STRIDES), usual, rtol=1e-4, atol=1e-4)
    added = _of_levels(more, ALL, (4, 64))
    assert added.shape[1] == 16 * 32 + 2 and (added.std(axis=1) > 0).all()


def test_predictions_of_all_levels_are_decoded_by_their_strides() -> None:
    points = numpy_twins.anchors(SIZE, ALL)
    raw = np.random.default_rng(1).normal(size=(2, len(points), 7)).astype(np.float32)
    decoded = np.asarray(decode(jnp.asarray(raw), image_size=SIZE))
    np.testing.assert_allclose(decoded[..., :2], (raw[..., :2] + points[:, :2]) * points[:, 2:], rtol=1e-5)
    np.testing.assert_allclose(decoded[..., 2:4], np.exp(raw[..., 2:4]) * points[:, 2:], rtol=1e-5)


def test_weights_of_fewer_levels_stay_at_their_strides_and_the_log_names_the_new_ones(three_levels: YOLOX) -> None:
    model, given = create_model(_nano(ALL), 3), export_state_dict(three_levels)
    fresh = export_state_dict(model)
    report = load_state_dict(model, given, strict=False)
    loaded = export_state_dict(model)
    for name, array in given.items():
        place = name.split(".")
        if place[0] == "head":
            place[2] = str(int(place[2]) + 1)  # the level of stride 4 comes first
        np.testing.assert_array_equal(loaded[".".join(place)], array, err_msg=name)
    assert {level_of(name, ALL) for name in report.missing} == {4, 64} and not report.skipped
    assert all((loaded[name] == fresh[name]).all() for name in report.missing)
    numbers = [sum(level_of(name, ALL) == stride for name in report.missing) for stride in (4, 64)]
    assert report.summary() == (
        f"loaded 538 tensors; the level of stride 4 is new: {numbers[0]} tensors start from random values; "
        f"the level of stride 64 is new: {numbers[1]} tensors start from random values"
    )


def test_weights_of_more_levels_serve_a_network_with_fewer(all_levels: YOLOX, three_levels: YOLOX) -> None:
    given = export_state_dict(all_levels)
    model = create_model(_nano(STRIDES), 3)
    report = load_state_dict(model, given, strict=False)
    expected = export_state_dict(three_levels)
    assert all((array == expected[name]).all() for name, array in export_state_dict(model).items())
    assert {level_of(name, ALL) for name in report.skipped} == {4, 64} and not report.missing
    coarser = create_model(_nano((8, 16, 32, 64)), 3)
    report = load_state_dict(coarser, given, strict=False)
    assert not report.missing and not report.new_levels
    np.testing.assert_array_equal(
        export_state_dict(coarser)["head.stems.3.conv.weight"], given["head.stems.4.conv.weight"]
    )


def test_weights_alone_are_enough_to_detect_and_export(all_levels: YOLOX, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", export_state_dict(all_levels), {"input_size": "[64, 128]"})
    model, _ = read_model(tmp_path / "w.safetensors")
    assert model.strides == ALL
    raw = _predict(model)
    np.testing.assert_allclose(raw, _predict(all_levels), rtol=1e-5, atol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime")
    path = export_onnx(model, tmp_path / "m.onnx", input_size=SIZE, class_names=list("abc"), nms=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (predictions,) = session.run(None, {"images": IMAGES.astype(np.uint8)})
    expected = np.asarray(decode(jnp.asarray(raw), image_size=SIZE))
    np.testing.assert_allclose(predictions, expected, rtol=2e-3, atol=0.02)


def test_input_sizes_must_be_multiples_of_the_largest_stride(all_levels: YOLOX, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="invalid input size 64 x 96: height and width must be multiples of 64 px"):
        Detector(model=all_levels, input_size=(64, 96))
    with pytest.raises(ConfigError, match="input size 416 x 416"):  # the published one of nano
        Detector(model=all_levels)
    with pytest.raises(ConfigError, match="multiples of 64 px"):
        export_onnx(all_levels, tmp_path / "m.onnx", input_size=(64, 96), class_names=list("abc"))
    with pytest.raises(ValueError, match="multiples of 64 px; got 64x96 px"):
        all_levels(jnp.zeros((1, 64, 96, 3)))
    assert Detector(model=all_levels, input_size=SIZE, scales=(0.6, 1.0)).image_size == SIZE


@pytest.mark.slow
def test_a_step_trains_the_level_of_a_small_object() -> None:
    config = Config(model=_nano((4, *STRIDES)), train=TrainConfig(batch_size=1))
    model = create_model(config.model, 3)
    before = export_state_dict(model)
    graphdef, state, step = started(config, model)
    batch = {
        "images": np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8),
        "boxes": np.float32([[[22.0, 30.0, 6.0, 5.0]]]),
        "classes": np.zeros((1, 1), np.int32),
        "valid": np.ones((1, 1), bool),
    }
    state, metrics = step(state, batch, scalars_at(config, 0, 0.1), size=(64, 64))
    assert np.isfinite(metrics["loss"]) and metrics["num_foreground"] > 0
    after = export_state_dict(averaged_model(graphdef, state._replace(ema_params=state.params)))
    for name in ("head.obj_preds.0.weight", "backbone.C3_p2.conv3.conv.weight", "backbone.reduce_conv2.conv.weight"):
        assert (after[name] != before[name]).any(), name
