"""Folding of batch norm into convolutions, and outputs of a batch against those of its images one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from reference import procedural
from yolox_jax.models import create_model, fold_batch_norm
from yolox_jax.weights.names import named_variables, original_shape

DEEPER = [pytest.param(name, marks=pytest.mark.slow) for name in ("yolox_tiny", "yolox_s", "yolox_darknet53")]


@pytest.mark.parametrize("variant", ["yolox_nano", *DEEPER])
def test_a_folded_model_without_batch_norm_gives_the_same_output_for_a_batch_and_its_images(variant):
    model = create_model(variant, 3)
    for key, variable in named_variables(model).items():
        value = procedural.weight(key, original_shape(variable.shape))
        if "running" in key:  # the initial 0 and 1 would hide errors
            value = value + np.random.default_rng(0).uniform(0.2, 1.0, value.shape)
        if value.ndim == 1:
            variable.set_value(jnp.asarray(value))
    images = jnp.asarray(procedural.images((3, 64, 64, 3), 0))
    before = jax.tree.map(np.asarray, nnx.state(model))
    folded = fold_batch_norm(model)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model))
    assert not jax.tree.leaves(nnx.state(folded, nnx.BatchStat))
    model.eval()
    forward = nnx.jit(lambda model, images: model(images))
    expected = forward(model, images)
    largest = float(jnp.max(jnp.abs(expected)))
    assert float(jnp.max(jnp.abs(forward(folded, images) - expected))) < 1e-4 * largest
    one_by_one = jnp.concatenate([forward(folded, image[None]) for image in images])
    assert float(jnp.max(jnp.abs(one_by_one - expected))) < 1e-4 * largest
