"""Stages that the backward pass computes again."""

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
    """A function of images to gradients and statistics, and what its backward pass keeps of the forward one."""
    model = create_model(variant, 3)
    model.train()
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, images: jax.Array) -> tuple[jax.Array, nnx.State]:
        model = nnx.merge(graphdef, params, stats, copy=True)
        raw = model(images, options)
        return jnp.mean(jnp.sin(raw)), nnx.state(model, nnx.BatchStat)

    def kept(images: jax.Array) -> PyTree:
        return jax.vjp(lambda params: loss(params, images)[0], params)[1]

    return jax.jit(lambda images: jax.grad(loss, has_aux=True)(params, images)), kept


def feature_bytes(kept, batch: int) -> int:
    """Bytes of all features of a batch that the backward pass needs."""
    residuals = jax.tree.leaves(jax.eval_shape(kept, jax.ShapeDtypeStruct((batch, SIDE_PX, SIDE_PX, 3), jnp.float32)))
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in residuals if x.ndim == 4 and x.shape[0] == batch)


@pytest.mark.slow
def test_gradients_and_statistics_stay_and_features_are_not_kept():
    images = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (2, SIDE_PX, SIDE_PX, 3)), jnp.float32)
    (plain, plain_kept), (again, again_kept) = (gradients("yolox_nano", options) for options in (STORED, RECOMPUTED))
    for found, expected in zip(jax.tree.leaves(again(images)), jax.tree.leaves(plain(images)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3 * float(jnp.abs(expected).max()) + 1e-9)
    assert 4 * feature_bytes(again_kept, 5) < feature_bytes(plain_kept, 5)


@pytest.mark.parametrize("variant", ["yolox_s", "yolox_darknet53"])
def test_every_backbone_keeps_a_fourth_at_most(variant: str):
    plain, again = (feature_bytes(gradients(variant, options)[1], 5) for options in (STORED, RECOMPUTED))
    assert 0 < 4 * again < plain
