"""Heads of the roadmap: anchor boxes, the coupled head, and the branch that replaces suppression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from yolox_jax.config import ConfigError, ModelConfig
from yolox_jax.models import ForwardOptions, create_model
from yolox_jax.models.anchor_boxes import relative_to_strides
from yolox_jax.models.coupled_head import CoupledHead
from yolox_jax.models.head import YOLOXHead
from yolox_jax.models.one_to_one import fold_selection
from yolox_jax.models.predictions import join_boxes
from yolox_jax.postprocess import decode

ANCHORS = ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0), (30.0, 61.0), (62.0, 45.0), (59.0, 119.0))
SIZE = (32, 64)


def test_predictions_relative_to_anchor_boxes_decode_as_in_yolov3() -> None:
    raw = np.random.default_rng(0).normal(0, 2, (2, 84, 7)).astype(np.float32)
    decoded = np.asarray(decode(relative_to_strides(jnp.asarray(raw), ANCHORS, SIZE), image_size=SIZE, per_cell=2))
    place = 0
    for level, stride in enumerate((8, 16, 32)):
        for row in range(SIZE[0] // stride):
            for column in range(SIZE[1] // stride):
                for width, height in ANCHORS[2 * level : 2 * level + 2]:
                    tx, ty, tw, th = raw[:, place, :4].T
                    expected = [
                        (1 / (1 + np.exp(-tx)) + column) * stride,
                        (1 / (1 + np.exp(-ty)) + row) * stride,
                        width * np.exp(tw),
                        height * np.exp(th),
                    ]
                    np.testing.assert_allclose(decoded[:, place, :4].T, expected, rtol=1e-5, atol=1e-4)
                    place += 1
    np.testing.assert_allclose(decoded[..., 4:], 1 / (1 + np.exp(-raw[..., 4:])), rtol=1e-5)


def test_the_values_of_each_anchor_of_a_cell_are_joined() -> None:
    boxes = jnp.arange(2 * 3 * 12.0).reshape(1, 2, 3, 12)
    objectness = 1000 + jnp.arange(2 * 3 * 3.0).reshape(1, 2, 3, 3)
    classes = 2000 + jnp.arange(2 * 3 * 6.0).reshape(1, 2, 3, 6)
    joined = join_boxes([boxes, objectness, classes])
    assert joined.shape == (1, 18, 7)
    for row in range(2):
        for column in range(3):
            for box in range(3):
                expected = [
                    *boxes[0, row, column, 4 * box : 4 * box + 4],
                    objectness[0, row, column, box],
                    *classes[0, row, column, 2 * box : 2 * box + 2],
                ]
                assert joined[0, 3 * (3 * row + column) + box].tolist() == list(map(float, expected))


def test_the_folded_logit_is_that_of_the_product_of_both_probabilities() -> None:
    values = np.array([-80.0, -30, -4, -0.5, 0, 1, 7, 30, 80])
    objectness, selection = (grid.ravel() for grid in np.meshgrid(values, values))
    raw = np.zeros((1, len(objectness), 8), np.float32)
    raw[0, :, 4], raw[0, :, -1] = objectness, selection
    raw[..., 5:7] = 3.0
    folded = np.asarray(fold_selection(jnp.asarray(raw)))
    assert folded.shape == (1, 81, 7)
    expected = -np.log(np.exp(-objectness) + np.exp(-selection) + np.exp(-objectness - selection))  # in float64
    np.testing.assert_allclose(folded[0, :, 4], expected, rtol=1e-5, atol=1e-6)
    assert (folded[..., 5:] == 3.0).all()


@pytest.mark.parametrize("head", [YOLOXHead, CoupledHead])
def test_the_selection_trains_its_branch_alone(head: type[YOLOXHead] | type[CoupledHead]) -> None:
    rng = np.random.default_rng(0)
    module = head(2, 0.125, (8, 16, 32), depthwise=False, activation="silu", end_to_end=True, rng=rng)
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    features = [jnp.asarray(rng.normal(size=(2, 64 // c, 64 // c, c)), jnp.float32) for c in (8, 16, 32)]

    def selection(params: nnx.State, features: list[jax.Array]) -> jax.Array:
        raw = nnx.merge(graphdef, params, rest, copy=True)(features, ForwardOptions())
        assert raw.shape == (2, 84, 8)
        return jnp.sum(raw[..., -1] ** 2)

    gradients, of_features = jax.jit(jax.grad(selection, argnums=(0, 1)))(params, features)
    trained = {path for path, value in nnx.to_flat_state(gradients) if jnp.any(value[...] != 0)}
    assert trained
    assert all(path[0] == "one_to_one" for path in trained)
    assert not any(gradient.any() for gradient in of_features)


def test_an_end_to_end_network_returns_the_folded_logit_unless_its_loss_asks() -> None:
    model = create_model(ModelConfig(variant="yolox_nano", anchors=ANCHORS, end_to_end=True), 2)
    model.eval()
    images = jnp.full((1, 32, 64, 3), 100.0)
    folded, separate = jax.jit(lambda x: (model(x), model(x, ForwardOptions(separate_one_to_one=True))))(images)
    assert folded.shape == (1, 84, 7) and separate.shape == (1, 84, 8)
    np.testing.assert_allclose(folded, fold_selection(separate), rtol=1e-5, atol=1e-5)


def test_anchor_boxes_that_the_levels_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 levels, got 4"):
        create_model(ModelConfig(variant="yolox_nano", anchors=ANCHORS[:4]))
