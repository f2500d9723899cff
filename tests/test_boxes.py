"""Box formats, IoU, anchors and decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpy_twins
from yolox_jax import anchors, boxes


def test_pairwise_iou_equals_one_pair_at_a_time():
    rng = np.random.default_rng(1)
    a, b = (numpy_twins.corners(rng.uniform(1, 40, (2, n, 4))) for n in (6, 9))
    expected = numpy_twins.iou(a[:, :, None], b[:, None])
    assert (expected == 0).any()
    assert (expected > 0).any()
    got = boxes.pairwise_iou(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_iou_of_empty_or_overflowing_boxes_is_zero():
    a = jnp.array([[5.0, 5.0, 5.0, 5.0], [-jnp.inf, -jnp.inf, jnp.inf, jnp.inf]])
    np.testing.assert_array_equal(boxes.pairwise_iou(a, a), np.zeros((2, 2)))


def test_anchors_run_level_by_level_and_row_by_row():
    grid, stride = anchors.anchor_points((64, 96))
    expected = numpy_twins.anchors((64, 96))
    np.testing.assert_array_equal(np.column_stack([grid, stride]), expected)
    assert grid.dtype == stride.dtype == np.float32


@pytest.mark.parametrize("size", [(0, 32), (32, -32), (100, 96)])
def test_a_size_that_is_no_positive_multiple_of_32_is_rejected(size):
    with pytest.raises(ValueError, match=f"positive multiples of 32 px; got {size[0]}x{size[1]} px"):
        anchors.anchor_points(size)


def test_decoding_is_float32_for_any_input_dtype():
    raw = jax.random.normal(jax.random.key(0), (2, 42, 4)).astype(jnp.bfloat16)
    decoded = anchors.decode_boxes(raw, (32, 64))
    assert decoded.dtype == jnp.float32
    raw = np.asarray(raw.astype(jnp.float32))
    points = numpy_twins.anchors((32, 64))
    centres = (raw[..., :2] + points[:, :2]) * points[:, 2:]
    np.testing.assert_allclose(decoded[..., :2], centres, rtol=1e-6)
    np.testing.assert_allclose(decoded[..., 2:], np.exp(raw[..., 2:]) * points[:, 2:], rtol=1e-6)


def test_an_output_of_another_size_is_rejected_with_both_numbers_of_anchors():
    with pytest.raises(ValueError, match="32x64 px has 42 anchors.*network output has 21"):
        anchors.decode_boxes(jnp.zeros((1, 21, 4)), (32, 64))
