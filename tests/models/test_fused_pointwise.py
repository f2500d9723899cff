"""1x1 convolutions fused with batch norm and SiLU equal the plain form and brute force to rounding."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from yolox_jax.models import pointwise_kernels
from yolox_jax.models.blocks import BaseConv, CSPLayer, DepthwiseConv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import Norm

CASES = [
    (77, 24, 48, True, jnp.float32),
    (77, 24, 48, True, jnp.bfloat16),
    (77, 24, 48, True, jnp.float16),
    (300, 16, 512, False, jnp.bfloat16),
    (300, 512, 16, True, jnp.float16),
]
"""Pixels, input and output channels, whether there is a batch norm in front, and the dtype."""

EPSILON = {jnp.float32: 2.0**-22, jnp.bfloat16: 2.0**-8, jnp.float16: 2.0**-10}


def _case(pixels: int, inputs: int, outputs: int, dtype: jnp.dtype) -> dict:
    """Inputs of both kernels, with means far from zero."""
    rng = np.random.default_rng(pixels)

    def array(*shape: int, dtype: jnp.dtype = jnp.float32, mean: float = 0.0) -> jax.Array:
        return jnp.asarray(mean + rng.standard_normal(shape), dtype)

    def norm(channels: int) -> Norm:
        return Norm(array(channels, mean=3), array(channels), array(channels))

    return {
        "x": [array(pixels, width, dtype=dtype, mean=3) for width in (8, inputs - 8)],
        "norm": norm(inputs),
        "weights": (array(inputs, outputs) / np.sqrt(inputs)).astype(dtype),
        "out": array(pixels, outputs, dtype=dtype, mean=3),
        "out_norm": norm(outputs),
        "gradient": [array(pixels, width, dtype=dtype) for width in (outputs - 8, 8)],
        "correction": (array(outputs), array(outputs)),
    }


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _brute_force(case: dict, with_norm: bool) -> list[np.ndarray]:
    """Output, mean and variance, then gradients, in float64."""
    case = jax.tree.map(lambda x: np.asarray(x, np.float64), case)
    x, gradient = np.concatenate(case["x"], 1), np.concatenate(case["gradient"], 1)
    weights, out = case["weights"], case["out"]
    mean, factor, bias = case["norm"]
    before = (x - mean) * factor + bias
    y = before * _sigmoid(before) if with_norm else x
    product = y @ weights
    out_mean, out_factor, out_bias = case["out_norm"]
    activated = (out - out_mean) * out_factor + out_bias
    sigmoid = _sigmoid(activated)
    inner = gradient * sigmoid * (1 + activated * (1 - sigmoid))
    at_mean, slope = case["correction"]
    out_gradient = inner * out_factor + at_mean + slope * (out - out_mean)
    y_gradient, weight_gradient = out_gradient @ weights.T, y.T @ out_gradient
    forward = [product, product.mean(0), product.var(0)]
    if not with_norm:
        return [*forward, *np.split(y_gradient, [8], 1), weight_gradient]
    sigmoid = _sigmoid(before)
    inner = y_gradient * sigmoid * (1 + before * (1 - sigmoid))
    of_norm = [-factor * inner.sum(0), (inner * (x - mean)).sum(0), inner.sum(0)]
    return [*forward, *np.split(inner * factor, [8], 1), weight_gradient, *of_norm]


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 pixels, each program goes through three blocks, and the last one lies behind the last pixel."""
    monkeypatch.setattr(pointwise_kernels, "FORWARD_PROGRAMS", 2)
    monkeypatch.setattr(pointwise_kernels, "BACKWARD_PROGRAMS", 2)


@pytest.mark.parametrize(("pixels", "inputs", "outputs", "with_norm", "dtype"), CASES)
def test_the_kernels_equal_brute_force_in_float64(
    pixels: int, inputs: int, outputs: int, with_norm: bool, dtype: jnp.dtype
):
    case = _case(pixels, inputs, outputs, dtype)
    arguments = (case["x"], case["norm"] if with_norm else None, case["weights"])
    # On a GPU, the kernels themselves; Triton's products of float32 are less precise.
    interpret = jax.default_backend() != "gpu" or dtype == jnp.float32
    forward = pointwise_kernels.forward(*arguments, interpret=interpret)
    backward = pointwise_kernels.backward(
        *arguments, *(case[name] for name in ("out", "out_norm", "gradient", "correction")), interpret=interpret
    )
    got, expected = (
        jax.tree.leaves((forward, backward.x, backward.weights, backward.norm)),
        _brute_force(case, with_norm),
    )
    for value, expected_value in zip(got, expected, strict=True):
        error = np.abs(np.asarray(value, np.float64) - expected_value).max()
        assert error < 4 * EPSILON[dtype] * np.abs(expected_value).max()


def test_the_variance_is_accurate_far_from_zero():
    x = 1000 + np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    _, mean, var = pointwise_kernels.forward([jnp.asarray(x)], None, jnp.eye(16), interpret=True)
    np.testing.assert_allclose(mean, x.mean(0, np.float64), rtol=1e-6)
    np.testing.assert_allclose(var, x.var(0, np.float64), rtol=1e-4)


BLOCKS: dict[str, Callable[[np.random.Generator], nnx.Module]] = {
    "depthwise": lambda rng: DepthwiseConv(16, 24, 3, 2, rng=rng),
    "csp": lambda rng: CSPLayer(16, 32, 1, rng=rng),
}


def _compiled(module: nnx.Module, x: jax.Array, options: ForwardOptions) -> tuple[list, str]:
    """Gradients, output and statistics of a block, and its jaxpr."""
    graphdef, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        copy = nnx.merge(graphdef, params, stats, copy=True)
        y = copy(x, options)
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size), (y, nnx.state(copy, nnx.BatchStat))

    traced = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True)).trace(params, x)
    return jax.tree.leaves(traced.lower().compile()(params, x)), str(traced.jaxpr)


@pytest.mark.parametrize("name", BLOCKS)
def test_fused_blocks_equal_plain_ones_with_their_gradients_and_statistics(name: str):
    module = BLOCKS[name](np.random.default_rng(0))
    x = jnp.asarray(1 + np.random.default_rng(1).standard_normal((2, 6, 14, 16)), jnp.float32)
    expected, plain = _compiled(module, x, ForwardOptions(for_gpu=True))
    got, fused = _compiled(module, x, ForwardOptions(for_gpu=True, pointwise="interpreted"))
    assert "pallas_call" in fused and "pallas_call" not in plain
    for value, expected_value in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-4)


def test_blocks_that_the_kernels_cannot_compute_keep_the_plain_form():
    options = ForwardOptions(for_gpu=True, pointwise="interpreted")
    rng = np.random.default_rng(0)
    blocks = [
        BaseConv(256, 128, 1, rng=rng),  # too many weights
        BaseConv(16, 16, 3, rng=rng),
        BaseConv(16, 16, 1, 2, rng=rng),
        BaseConv(16, 16, 1, activation="lrelu", rng=rng),
        BaseConv(16, 16, 1, rng=rng),
    ]
    blocks[-1].bn.use_running_average = True
    for block in blocks:
        x = jax.ShapeDtypeStruct((1, 4, 4, block.conv.kernel[...].shape[2]), jnp.float32)
        graphdef, state = nnx.split(block)
        traced = jax.jit(lambda state, x, graphdef=graphdef: nnx.merge(graphdef, state)(x, options)).trace(state, x)
        assert "pallas_call" not in str(traced.jaxpr)


def test_statistics_and_gradients_of_fused_blocks_are_those_of_all_devices():
    module = DepthwiseConv(16, 16, 3, rng=np.random.default_rng(0))
    graphdef, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 1, 4, 5, 16)), jnp.float32)
    weight = jnp.sin(jnp.arange(x.size).reshape(x.shape))

    def gradients(params: nnx.State, x: jax.Array, weight: jax.Array, axis_name: str | None) -> tuple:
        def loss(params: nnx.State, x: jax.Array) -> tuple[jax.Array, nnx.State]:
            copy = nnx.merge(graphdef, params, stats, copy=True)
            options = ForwardOptions(for_gpu=True, pointwise="interpreted", batch_norm_axis=axis_name)
            return jnp.sum(weight * copy(x, options)), nnx.state(copy, nnx.BatchStat)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    whole, expected_stats = jax.jit(lambda x, weight: gradients(params, x, weight, None))(x[:, 0], weight[:, 0])
    per_device = jax.jit(jax.vmap(lambda x, weight: gradients(params, x, weight, "data"), axis_name="data"))
    (of_params, of_x), new_stats = per_device(x, weight)
    got = (jax.tree.map(lambda g: g.sum(0), of_params), of_x[:, 0], jax.tree.map(lambda s: s[0], new_stats))
    for value, expected in zip(jax.tree.leaves(got), jax.tree.leaves((*whole, expected_stats)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)
