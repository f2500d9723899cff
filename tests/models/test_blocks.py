"""Building blocks against independent twins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from yolox_jax.models.blocks import Focus, SPPBottleneck, upsample
from yolox_jax.models.convolution import conv2d, plain_convolutions
from yolox_jax.models.normalization import BatchNorm


def _random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("size", "stride", "groups", "height", "width"),
    [(1, 1, 1, 6, 9), (1, 2, 1, 7, 8), (3, 1, 8, 7, 6), (3, 2, 8, 8, 9)],
)
def test_both_forms_of_a_convolution_agree_with_their_gradients(
    size: int, stride: int, groups: int, height: int, width: int
):
    x, kernel = _random(2, height, width, 8), _random(size, size, 8 // groups, 8, seed=1)

    def forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = conv2d(x, kernel, stride, groups)
        return jnp.sum(jnp.sin(out)), out

    compute = jax.value_and_grad(forward, argnums=(0, 1), has_aux=True)
    with plain_convolutions():
        expected = compute(x, kernel)
        plain = str(jax.make_jaxpr(lambda x: conv2d(x, kernel, stride, groups))(x))
    fast = str(jax.make_jaxpr(lambda x: conv2d(x, kernel, stride, groups))(x))
    assert "conv_general_dilated" in plain
    if jax.default_backend() == "cpu":
        assert "conv_general_dilated" not in fast
    for got, want in zip(jax.tree.leaves(compute(x, kernel)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_stride_two_pads_both_sides_as_pytorch_does():
    x, kernel = _random(1, 4, 4, 2), _random(3, 3, 2, 1, seed=1)
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = [[np.sum(padded[0, i : i + 3, j : j + 3] * kernel[..., 0]) for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_allclose(conv2d(x, kernel, 2)[0, ..., 0], expected, rtol=1e-5)


def test_batch_norm_normalises_accurately_far_from_zero():
    x = 1000 + _random(4, 8, 8, 3)
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(BatchNorm(3)(x), expected, atol=1e-3)


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
def test_batch_norm_gradients_equal_the_textbooks(dtype: jnp.dtype, tolerance: float):
    x, weight = (2 + _random(4, 5, 6, 3)).astype(dtype), _random(4, 5, 6, 3, seed=1)
    graphdef, params, stats = nnx.split(BatchNorm(3), nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, x: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graphdef, params, stats, copy=True)(x) * weight)

    got_params, got_x = jax.grad(loss, argnums=(0, 1))(params, x)
    exact, dy = np.asarray(x, np.float64), np.asarray(weight.astype(dtype), np.float64)
    std = np.sqrt(exact.var((0, 1, 2)) + 1e-3)
    normal = (exact - exact.mean((0, 1, 2))) / std
    dx = (dy - dy.mean((0, 1, 2)) - normal * (dy * normal).mean((0, 1, 2))) / std
    for got, want in [
        (got_x, dx),
        (got_params["scale"][...], (dy * normal).sum((0, 1, 2))),
        (got_params["bias"][...], dy.sum((0, 1, 2))),
    ]:
        np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=tolerance * np.abs(want).max())


def test_batch_statistics_are_summed_in_float32_for_bfloat16_input():
    x = (3 + _random(8, 64, 64, 2)).astype(jnp.bfloat16)
    bn = BatchNorm(2)
    assert bn(x).dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(bn.mean[...], 0.03 * exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(bn.var[...] - 0.97, 0.03 * exact.var((0, 1, 2)), rtol=1e-3)


def test_focus_orders_pixels_top_left_bottom_left_top_right_bottom_right():
    focus = Focus(3, 4, rng=np.random.default_rng(0))
    seen = []
    focus.conv = lambda patches: seen.append(patches) or patches
    x = _random(2, 4, 6, 3)
    focus(x)
    patches = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    np.testing.assert_array_equal(seen[0], jnp.concatenate(patches, axis=-1))


def test_pyramid_pooling_sees_5_9_and_13_pixels():
    spp = SPPBottleneck(8, 8, rng=np.random.default_rng(0))
    spp.eval()
    x = _random(1, 15, 14, 8)
    inner = spp.conv1(x)
    pools = [
        lax.reduce_window(inner, -jnp.inf, lax.max, (1, size, size, 1), (1, 1, 1, 1), "SAME") for size in (5, 9, 13)
    ]
    expected = spp.conv2(jnp.concatenate([inner, *pools], axis=-1))
    np.testing.assert_allclose(spp(x), expected, atol=1e-6)


def test_upsampling_repeats_the_nearest_pixel():
    x = _random(2, 3, 4, 5)
    np.testing.assert_array_equal(upsample(x), jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))
