"""The seven networks against the original: names, sizes and outputs."""

import json
from pathlib import Path

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params

from reference import procedural
from yolox_jax.config import ConfigError, ModelConfig
from yolox_jax.models import VARIANTS, YOLOX, create_model
from yolox_jax.models.blocks import Conv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import BatchNorm
from yolox_jax.weights import load_state_dict
from yolox_jax.weights.names import named_variables, original_shape

FAST_COMPILE = {"xla_backend_optimization_level": 0}
REFERENCE = Path(__file__).parents[1] / "reference"
STATE_DICTS = json.loads((REFERENCE / "state_dicts.json").read_text())


def _abstract(variant: str) -> YOLOX:
    return nnx.eval_shape(lambda: create_model(variant))


def _decode(raw: np.ndarray, height: int, width: int) -> np.ndarray:
    """docs/yolox.md, 3, written independently of the package."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[: height // stride, : width // stride]
        grids.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((grids[-1].shape[0], 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    scores = 1 / (1 + np.exp(-raw[..., 4:]))
    return np.concatenate([(raw[..., :2] + grid) * stride, np.exp(raw[..., 2:4]) * stride, scores], axis=-1)


@pytest.mark.parametrize("name", STATE_DICTS)
def test_names_shapes_and_parameter_count_equal_those_of_the_original(name: str):
    model = _abstract(f"yolox_{name}")
    ours = {key: original_shape(variable.shape) for key, variable in named_variables(model).items()}
    theirs = {key: tuple(shape) for key, shape in STATE_DICTS[name]["state_dict"] if "num_batches_tracked" not in key}
    assert ours == theirs
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert parameters == STATE_DICTS[name]["params"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("m", "l", "x") else name for name in STATE_DICTS]
)
def test_output_equals_that_of_the_original(name: str):
    reference = np.load(REFERENCE / f"forward_{name}.npz")
    seed = int(reference["seed"])
    state_dict = {
        key: reference[f"running/{key}"]
        if f"running/{key}" in reference
        else procedural.weight(key, tuple(shape), seed)
        for key, shape in STATE_DICTS[name]["state_dict"]
    }
    model = _abstract(f"yolox_{name}")
    load_state_dict(model, state_dict)
    model.eval()
    images = procedural.images(tuple(reference["image_shape"]), int(reference["image_seed"]))
    graphdef, state = nnx.split(model)
    forward = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images), compiler_options=FAST_COMPILE)
    raw = forward(state, images)
    decoded, expected = _decode(np.asarray(raw), *images.shape[1:3]), reference["decoded"]
    tolerance = 5e-3 if name == "x" else 1e-3
    for columns in (slice(0, 4), slice(4, None)):
        difference = np.abs(decoded[..., columns] - expected[..., columns]).max()
        assert difference < tolerance * np.abs(expected[..., columns]).max()


def test_the_training_state_holds_only_parameters_and_batch_statistics():
    graphdef, params, stats = nnx.split(create_model("yolox_nano", 3), nnx.Param, nnx.BatchStat)
    images = jnp.asarray(procedural.images((2, 64, 64, 3), 0))

    def step(params: nnx.State, stats: nnx.State) -> tuple[nnx.State, nnx.State]:
        def loss(params: nnx.State) -> tuple[jax.Array, nnx.State]:
            model = nnx.merge(graphdef, params, stats, copy=True)
            raw = model(images)
            return jnp.mean(raw**2), nnx.split(model, nnx.Param, nnx.BatchStat)[2]

        return jax.grad(loss, has_aux=True)(params)

    gradients, new_stats = jax.eval_shape(step, params, stats)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)
    assert jax.tree.structure(new_stats) == jax.tree.structure(stats)


def test_only_features_are_bfloat16():
    model = create_model("yolox_tiny", 3, dtype=jnp.bfloat16)
    graphdef, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    options = ForwardOptions(convolution="primitive")  # so that all convolutions are in the outermost program
    trace = jax.make_jaxpr(lambda state, images: nnx.merge(graphdef, state, copy=True)(images, options))(state, images)
    convolutions = [eqn for eqn in trace.jaxpr.eqns if eqn.primitive.name in ("conv_general_dilated", "dot_general")]
    assert {eqn.outvars[0].aval.dtype.name for eqn in convolutions} == {"bfloat16"}
    assert trace.out_avals[0].dtype == jnp.float32
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32"}


def test_initial_weights_depend_on_the_seed_and_are_distributed_as_in_the_original():
    first, again, other = (named_variables(create_model("yolox_nano", 3, seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[key][...], again[key][...]) for key in first)
    key = "backbone.backbone.dark2.0.dconv.conv.weight"
    assert not np.array_equal(first[key][...], other[key][...])
    assert 0.9 / 3 < float(jnp.max(jnp.abs(first[key][...]))) <= 1 / 3  # depthwise 3x3: fan in 9
    for branch in ("cls", "obj"):
        np.testing.assert_allclose(first[f"head.{branch}_preds.0.bias"][...], -np.log(99), rtol=1e-6)
    box_bias = first["head.reg_preds.0.bias"][...]
    assert bool(jnp.any(box_bias != 0)) and float(jnp.max(jnp.abs(box_bias))) <= 1 / 8  # fan in 64


def test_a_model_config_names_the_variant_and_models_built_alike_have_equal_structures():
    named, configured = create_model("yolox_nano", 3), create_model(ModelConfig(variant="yolox_nano"), 3, seed=1)
    assert nnx.graphdef(configured) == nnx.graphdef(named)
    assert hash(nnx.graphdef(configured)) == hash(nnx.graphdef(named))


def test_a_model_of_another_dtype_shares_the_weights_of_the_first():
    model = create_model("yolox_nano", 3)
    half = model.with_dtype(jnp.bfloat16)
    assert model.dtype == jnp.float32
    assert nnx.graphdef(half) == nnx.graphdef(create_model("yolox_nano", 3, dtype=jnp.bfloat16))
    name = "head.cls_preds.0.bias"
    named_variables(model)[name].set_value(jnp.arange(3.0))
    np.testing.assert_array_equal(named_variables(half)[name][...], jnp.arange(3.0))


@pytest.mark.parametrize("variant", ["yolox_nano", "yolox_darknet53"])
def test_options_reach_every_layer(variant: str):
    model = _abstract(variant)
    graphdef, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

    def trace(options: ForwardOptions) -> jax.extend.core.Jaxpr:
        forward = lambda state, images: nnx.merge(graphdef, state, copy=True)(images, options)  # noqa: E731
        return jax.make_jaxpr(forward, axis_env=[("devices", 2)])(state, images).jaxpr

    num_layers = {kind: sum(isinstance(m, kind) for _, m in nnx.iter_modules(model)) for kind in (Conv, BatchNorm)}
    assert count(trace(ForwardOptions(batch_norm_axis="devices")), "all_gather") == num_layers[BatchNorm]
    assert count(trace(ForwardOptions()), "all_gather") == 0
    assert count(trace(ForwardOptions(convolution="portable")), "platform_index") == num_layers[Conv]
    assert count(trace(ForwardOptions(convolution="primitive")), "conv_general_dilated") == num_layers[Conv]


def count(jaxpr: jax.extend.core.Jaxpr, primitive: str) -> int:
    """Equations of a primitive, nested ones included."""
    nested = [inner for eqn in jaxpr.eqns for inner in jaxprs_in_params(eqn.params)]
    return sum(eqn.primitive.name == primitive for eqn in jaxpr.eqns) + sum(count(j, primitive) for j in nested)


def test_an_unknown_variant_is_rejected_with_the_choices():
    with pytest.raises(ConfigError, match="yolox_nano.*got 'yolox_q'"):
        create_model("yolox_q")


def test_no_classes_are_rejected():
    with pytest.raises(ConfigError, match="at least one class"):
        create_model("yolox_nano", 0)


def test_an_image_size_that_is_no_multiple_of_32_is_rejected():
    with pytest.raises(ValueError, match="multiples of 32 px; got 64x72 px"):
        create_model("yolox_nano", 3)(jnp.zeros((1, 64, 72, 3)))


def test_published_input_sizes():
    assert {name: variant.input_size for name, variant in VARIANTS.items() if variant.input_size != (640, 640)} == {
        "yolox_nano": (416, 416),
        "yolox_tiny": (416, 416),
    }
