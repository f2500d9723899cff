"""Convolutions of one input give the same results one after the other, as on CPUs, and as one, as for GPUs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from yolox_jax.models.blocks import CSPLayer
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.head import YOLOXHead


def _csp_layer() -> tuple[nnx.Module, jax.Array]:
    return CSPLayer(6, 8, 1, rng=np.random.default_rng(0)), _features(4, 6)


def _head() -> tuple[nnx.Module, list[jax.Array]]:
    rng = np.random.default_rng(0)
    return YOLOXHead(3, 1 / 32, (6,), depthwise=False, activation="silu", boxes_per_cell=2, rng=rng), [_features(4, 6)]


def _features(size: int, channels: int) -> jax.Array:
    return jnp.asarray(1 + np.random.default_rng(channels).standard_normal((3, size, size, channels)), jnp.float32)


def _trace(
    module: nnx.Module, x: jax.Array | list[jax.Array], options: ForwardOptions
) -> tuple[jax.stages.Traced, nnx.State]:
    """A function of parameters and input that returns gradients, output and statistics; and the parameters."""
    graphdef, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, x: jax.Array | list[jax.Array]) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        copy = nnx.merge(graphdef, params, stats, copy=True)
        y = copy(x, options)
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size), (y, nnx.state(copy, nnx.BatchStat))

    return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True)).trace(params, x), params


def _num_batch_norms(traced: jax.stages.Traced) -> int:
    return str(traced.jaxpr).count(" rsqrt ")


@pytest.mark.parametrize("build", [_csp_layer, _head])
def test_side_by_side_equals_one_after_the_other(build: Callable):
    module, x = build()
    separate, params = _trace(module, x, ForwardOptions())
    expected = separate.lower().compile()(params, x)
    joined, _ = _trace(module, x, ForwardOptions(for_gpu=True))
    assert _num_batch_norms(joined) < _num_batch_norms(separate)
    got = joined.lower().compile()(params, x)
    for value, expected_value in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-4)


def test_a_frozen_batch_norm_is_not_joined_with_one_that_is_trained():
    layer, x = _csp_layer()
    layer.conv1.bn.use_running_average = True
    statistics = {name: np.array(getattr(layer, name).bn.mean[...]) for name in ("conv1", "conv2")}
    layer(x, ForwardOptions(for_gpu=True))
    assert np.array_equal(layer.conv1.bn.mean[...], statistics["conv1"])
    assert not np.array_equal(layer.conv2.bn.mean[...], statistics["conv2"])
