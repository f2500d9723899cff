"""Building blocks against independent implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from yolox_jax.models.blocks import Focus, SPPBottleneck, upsample
from yolox_jax.models.convolution import conv2d
from yolox_jax.models.forward_options import ConvolutionForm, ForwardOptions
from yolox_jax.models.normalization import ACTIVATIONS, Activation, BatchNorm
from yolox_jax.models.pooling import max_pool


def _random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize(
    ("size", "stride", "height", "width"),
    [(1, 1, 6, 9), (1, 2, 7, 8), (3, 1, 7, 6), (3, 2, 8, 9), (3, 2, 7, 10), (5, 1, 7, 8), (5, 2, 9, 8), (3, 3, 8, 7)],
)
def test_all_forms_of_a_convolution_agree_with_their_gradients(
    size: int, stride: int, height: int, width: int, groups: int
):
    if size == 1 and groups > 1:
        pytest.skip("1x1 convolutions are never depthwise")
    outputs = 8 if groups > 1 else 5
    x, kernel = _random(2, height, width, 8), _random(size, size, 8 // groups, outputs, seed=1)

    def compute(form: ConvolutionForm) -> tuple[list[jax.Array], str]:
        """Output and gradients, and the jaxpr that computes them."""

        def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = conv2d(x, kernel, stride, groups, form)
            return jnp.sum(jnp.sin(out)), out

        traced = jax.jit(jax.value_and_grad(forward, argnums=(0, 1), has_aux=True)).trace(x, kernel)
        return jax.tree.leaves(traced.lower().compile()(x, kernel)), str(traced.jaxpr)

    expected, primitive = compute("primitive")
    values, fast = compute("backend")
    portable_values, portable = compute("portable")
    assert "conv_general_dilated" in primitive and "platform_index" in portable
    if jax.default_backend() == "cpu":
        assert fast != primitive and ("conv_general_dilated" not in fast or (size > 1 and groups == 1))
    for got in (values, portable_values):
        for value, expected_value in zip(got, expected, strict=True):
            np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-4)


def test_stride_two_pads_both_sides_as_pytorch_does():
    x, kernel = _random(1, 4, 4, 2), _random(3, 3, 2, 1, seed=1)
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = [[np.sum(padded[0, i : i + 3, j : j + 3] * kernel[..., 0]) for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_allclose(conv2d(x, kernel, 2)[0, ..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize("for_gpu", [False, True])
def test_batch_norm_normalises_accurately_far_from_zero(for_gpu: bool):
    x = 1000 + _random(4, 8, 8, 3)
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(BatchNorm(3)(x, for_gpu=for_gpu), expected, atol=1e-3)


def test_running_statistics_follow_pytorchs_rule_over_steps():
    bn, mean, var = BatchNorm(3), np.zeros(3), np.ones(3)
    for step in range(5):
        x = 5 + 3 * _random(2, 2, 3, 3, seed=step)
        bn(x)
        batch = np.asarray(x, np.float64).reshape(-1, 3)
        mean = 0.97 * mean + 0.03 * batch.mean(0)
        var = 0.97 * var + 0.03 * batch.var(0, ddof=1)
    np.testing.assert_allclose(bn.mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(bn.var[...], var, rtol=1e-5)
    bn.eval()
    np.testing.assert_allclose(bn(x), (np.asarray(x) - mean) / np.sqrt(var + 1e-3), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bn.mean[...], mean, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.bfloat16, 2e-2)])
def test_batch_norm_gradients_equal_the_closed_form(dtype: jnp.dtype, tolerance: float):
    x, weight = (2 + _random(4, 5, 6, 3)).astype(dtype), _random(4, 5, 6, 3, seed=1)
    graphdef, params, stats = nnx.split(BatchNorm(3), nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, x: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graphdef, params, stats, copy=True)(x) * weight)

    got_params, got_x = jax.grad(loss, argnums=(0, 1))(params, x)
    exact, dy = np.asarray(x, np.float64), np.asarray(weight.astype(dtype), np.float64)
    std = np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    normal = (exact - exact.mean((0, 1, 2))) / std
    dx = (dy - dy.mean((0, 1, 2)) - normal * (dy * normal).mean((0, 1, 2))) / std
    for got, expected in [
        (got_x, dx),
        (got_params["scale"][...], (dy * normal).sum((0, 1, 2))),
        (got_params["bias"][...], dy.sum((0, 1, 2))),
    ]:
        np.testing.assert_allclose(np.asarray(got, np.float64), expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("for_gpu", [False, True])
@pytest.mark.parametrize("activation", ["silu", "lrelu"])
def test_gradients_through_batch_norm_and_activation_equal_those_of_autodiff(activation: Activation, for_gpu: bool):
    x, weight, bn = 1 + 2 * _random(3, 4, 5, 6), _random(3, 4, 5, 6, seed=1), BatchNorm(6)
    bn.scale.set_value(1 + 0.3 * _random(6, seed=2))
    bn.bias.set_value(_random(6, seed=3))
    graphdef, params, stats = nnx.split(bn, nnx.Param, nnx.BatchStat)

    def ours(params: nnx.State, x: jax.Array) -> jax.Array:
        return jnp.sum(weight * nnx.merge(graphdef, params, stats, copy=True)(x, activation, for_gpu=for_gpu))

    def plain(params: nnx.State, x: jax.Array) -> jax.Array:
        mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
        normal = (x - mean) / jnp.sqrt(var + 1e-3) * params["scale"][...] + params["bias"][...]
        return jnp.sum(weight * ACTIVATIONS[activation](normal))

    results = (jax.value_and_grad(f, argnums=(0, 1))(params, x) for f in (ours, plain))
    for got, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("for_gpu", [False, True])
def test_batch_norm_over_an_axis_equals_that_of_the_whole_batch_and_so_do_its_gradients(for_gpu: bool):
    x, weight = 1 + 2 * _random(4, 3, 5, 6), _random(4, 3, 5, 6, seed=1)
    graphdef, params, stats = nnx.split(BatchNorm(6), nnx.Param, nnx.BatchStat)

    def gradients(params: nnx.State, x: jax.Array, weight: jax.Array, axis_name: str | None):
        def loss(params: nnx.State, x: jax.Array) -> tuple[jax.Array, nnx.State]:
            bn = nnx.merge(graphdef, params, stats, copy=True)
            return jnp.sum(weight * bn(x, "silu", axis_name, for_gpu)), nnx.state(bn, nnx.BatchStat)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    (params_gradient, x_gradient), stats_after = gradients(params, x, weight, None)
    halves = (x.reshape(2, 2, *x.shape[1:]), weight.reshape(2, 2, *x.shape[1:]))
    (params_shares, x_shares), stats_shares = jax.vmap(
        lambda x, weight: gradients(params, x, weight, "devices"), axis_name="devices"
    )(*halves)
    np.testing.assert_allclose(x_shares.reshape(x.shape), x_gradient, atol=1e-5)
    for got, expected in zip(jax.tree.leaves(params_shares), jax.tree.leaves(params_gradient), strict=True):
        np.testing.assert_allclose(got.sum(0), expected, rtol=1e-4, atol=1e-4)
    for got, expected in zip(jax.tree.leaves(stats_shares), jax.tree.leaves(stats_after), strict=True):
        np.testing.assert_allclose(got, np.stack([expected, expected]), rtol=1e-5, atol=1e-6)


def test_batch_statistics_are_summed_in_float32_for_bfloat16_input():
    x = (3 + _random(8, 64, 64, 2)).astype(jnp.bfloat16)
    bn = BatchNorm(2)
    assert bn(x).dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(bn.mean[...], 0.03 * exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(bn.var[...] - 0.97, 0.03 * exact.var((0, 1, 2)), rtol=1e-3)


def test_focus_orders_pixels_top_left_bottom_left_top_right_bottom_right():
    focus = Focus(3, 4, rng=np.random.default_rng(0))
    focus.conv = lambda patches, options: patches
    x = _random(2, 4, 6, 3)
    patches = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    np.testing.assert_array_equal(focus(x, ForwardOptions()), jnp.concatenate(patches, axis=-1))


def test_pyramid_pooling_covers_5_9_and_13_pixels():
    spp = SPPBottleneck(8, 8, rng=np.random.default_rng(0))
    spp.eval()
    options = ForwardOptions()
    x = _random(1, 15, 14, 8)
    inner = spp.conv1(x, options)
    pools = [
        lax.reduce_window(inner, -jnp.inf, lax.max, (1, size, size, 1), (1, 1, 1, 1), "SAME") for size in (5, 9, 13)
    ]
    expected = spp.conv2(jnp.concatenate([inner, *pools], axis=-1), options)
    np.testing.assert_allclose(spp(x, options), expected, atol=1e-6)


@pytest.mark.parametrize("values", ["different", "many equal"])
def test_pooling_and_its_gradient_equal_those_of_xla_without_a_scatter(values: str):
    x, weight = _random(2, 7, 6, 3), _random(2, 7, 6, 3, seed=1)
    if values == "many equal":
        x = jnp.round(x)

    def xlas(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 5, 5, 1), (1, 1, 1, 1), "SAME")

    (value, gradient), (expected_value, expected_gradient) = (
        jax.value_and_grad(lambda x, f=f: jnp.sum(weight * f(x)))(x) for f in (lambda x: max_pool(x, 5), xlas)
    )
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)
    assert "scatter" not in str(jax.make_jaxpr(jax.grad(lambda x: jnp.sum(max_pool(x, 5))))(x))


def test_upsampling_repeats_the_nearest_pixel():
    x = _random(2, 3, 4, 5)
    np.testing.assert_array_equal(upsample(x), jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))
