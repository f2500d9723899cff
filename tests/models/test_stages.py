"""Stages whose features the backward pass recomputes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import PyTree

from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.yolox import create_model

SIDE_PX = 64
STORED, RECOMPUTED = ForwardOptions(), ForwardOptions(rematerialise=True)


def gradients(variant: str, options: ForwardOptions):
    """A function from images to gradients and statistics, and one to the residuals of its backward pass."""
    model = create_model(variant, 3)
    model.train()
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, images: jax.Array) -> tuple[jax.Array, nnx.State]:
        model = nnx.merge(graphdef, params, stats, copy=True)
        raw = model(images, options)
        return jnp.mean(jnp.sin(raw)), nnx.state(model, nnx.BatchStat)

    def residuals(images: jax.Array) -> PyTree:
        return jax.vjp(lambda params: loss(params, images)[0], params)[1]

    return jax.jit(lambda images: jax.grad(loss, has_aux=True)(params, images)), residuals


def feature_bytes(residuals, batch: int) -> int:
    """Bytes of all features of a batch that are stored for the backward pass."""
    stored = jax.tree.leaves(jax.eval_shape(residuals, jax.ShapeDtypeStruct((batch, SIDE_PX, SIDE_PX, 3), jnp.float32)))
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in stored if x.ndim == 4 and x.shape[0] == batch)


@pytest.mark.slow
def test_rematerialised_stages_change_no_gradient_or_statistic_and_store_few_features():
    images = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (2, SIDE_PX, SIDE_PX, 3)), jnp.float32)
    stored, stored_residuals = gradients("yolox_nano", STORED)
    recomputed, recomputed_residuals = gradients("yolox_nano", RECOMPUTED)
    for got, expected in zip(jax.tree.leaves(recomputed(images)), jax.tree.leaves(stored(images)), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-3 * float(jnp.abs(expected).max()) + 1e-9)
    assert 4 * feature_bytes(recomputed_residuals, 5) < feature_bytes(stored_residuals, 5)


@pytest.mark.parametrize("variant", ["yolox_s", pytest.param("yolox_darknet53", marks=pytest.mark.slow)])
def test_rematerialised_stages_store_less_than_a_quarter_of_the_features(variant: str):
    stored, recomputed = (feature_bytes(gradients(variant, options)[1], 5) for options in (STORED, RECOMPUTED))
    assert 0 < 4 * recomputed < stored
