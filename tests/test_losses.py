"""Losses and their gradients against the reference arrays, and edge cases."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.config import LossConfig
from yolox_jax.losses import detection_loss
from yolox_jax.structures import Targets

REFERENCE = np.load(Path(__file__).parent / "reference" / "loss_cases.npz")
PARTS = ("iou", "objectness", "classification", "l1")


def load(case):
    """Output, targets and image size of a reference case."""
    labels = REFERENCE[f"{case}/labels"]
    classes = jnp.asarray(labels[..., 0].astype(np.int32))
    targets = Targets(jnp.asarray(labels[..., 1:]), classes, jnp.asarray(labels.sum(-1) > 0))
    return jnp.asarray(REFERENCE[f"{case}/raw"]), targets, tuple(int(side) for side in REFERENCE[f"{case}/size"])


@functools.partial(jax.jit, static_argnames=("size", "config"))
def loss_and_gradient(raw, targets, size, l1_weight, config=LossConfig()):
    def loss(raw):
        return detection_loss(raw, targets, image_size=size, l1_weight=l1_weight, config=config)

    (total, parts), gradient = jax.value_and_grad(loss, has_aux=True)(raw)
    return total, parts, gradient


@pytest.mark.parametrize("l1", ["nol1", "l1"])
@pytest.mark.parametrize("case", REFERENCE["names"])
def test_equals_the_original(case, l1):
    raw, targets, size = load(case)
    total, parts, gradient = loss_and_gradient(raw, targets, size, 1.0 if l1 == "l1" else 0.0)
    *expected, objects_share = REFERENCE[f"{case}/losses_{l1}"]
    np.testing.assert_allclose([total, *(parts[name] for name in PARTS)], expected, rtol=1e-5, atol=1e-9)
    num_objects = max(int(targets.valid.sum()), 1)
    np.testing.assert_allclose(max(parts["num_foreground"], 1) / num_objects, objects_share, rtol=1e-6)
    if f"{case}/grad_{l1}" in REFERENCE:
        expected = REFERENCE[f"{case}/grad_{l1}"]
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_parts_are_weighted_and_add_up_to_the_total():
    raw, targets, size = load("overlapping")
    weights = LossConfig(iou_weight=2.0, objectness_weight=3.0, classification_weight=0.5, l1_weight=0.25)
    total, parts, _ = loss_and_gradient(raw, targets, size, 1.0, config=weights)
    iou, objectness, classification, l1 = REFERENCE["overlapping/losses_l1"][1:5]
    expected = [iou / 5 * 2, objectness * 3, classification / 2, l1 / 4]
    np.testing.assert_allclose([parts[name] for name in PARTS], expected, rtol=1e-5)
    np.testing.assert_allclose(total, sum(expected), rtol=1e-5)


def test_half_precision_output_is_scored_in_float32():
    raw, targets, size = load("one_class")
    half = raw.astype(jnp.bfloat16)
    total, parts, gradient = loss_and_gradient(half, targets, size, 1.0)
    expected, _, _ = loss_and_gradient(half.astype(jnp.float32), targets, size, 1.0)
    assert {value.dtype for value in (total, *parts.values())} == {jnp.dtype(jnp.float32)}
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_extreme_outputs_and_targets_leave_no_nan_in_the_gradient():
    raw, targets, size = load("empty_images")
    invalid = ~np.asarray(targets.valid)
    boxes = np.where(invalid[..., None], np.nan, np.asarray(targets.boxes))
    assert invalid.all(axis=1).any()
    boxes[~invalid[:, 0], 0, 2:] = 0.0  # objects without extent
    targets = targets._replace(boxes=jnp.asarray(boxes), classes=jnp.where(invalid, -1, targets.classes))
    for scale in (1.0, 300.0, -300.0):
        total, parts, gradient = loss_and_gradient(raw.at[:, ::2].multiply(scale), targets, size, 1.0)
        assert parts["num_foreground"] > 0
        assert jnp.isfinite(gradient).all()
        assert jnp.isfinite(total)


def test_without_objects_only_the_objectness_loss_is_nonzero():
    raw, targets, size = load("all_empty")
    _, parts, gradient = loss_and_gradient(raw, targets, size, 1.0)
    assert parts["num_foreground"] == 0
    assert [float(parts[name]) for name in ("iou", "classification", "l1")] == [0.0, 0.0, 0.0]
    assert np.flatnonzero(np.abs(gradient).sum(axis=(0, 1))).tolist() == [4]


def test_losses_of_a_batch_split_over_an_axis_add_up_to_those_of_the_whole():
    raw, targets, size = load("empty_images")  # its images have 0 and many objects
    expected, expected_parts, _ = loss_and_gradient(raw, targets, size, 1.0)

    def share(raw, targets):
        return detection_loss(raw[None], targets, image_size=size, l1_weight=1.0, axis_name="data")

    spread = Targets(*(x[:, None] for x in targets))
    totals, parts = jax.jit(jax.vmap(share, axis_name="data"))(raw, spread)
    np.testing.assert_allclose(totals.sum(), expected, rtol=1e-6)
    np.testing.assert_array_equal(parts["num_foreground"], np.full(len(raw), expected_parts["num_foreground"]))


def test_the_gradient_contains_no_scatter():
    """Scatters are not deterministic on GPUs (docs/yolox.md, 6.1)."""
    raw, targets, size = load("overlapping")
    gradient = jax.grad(lambda raw: detection_loss(raw, targets, image_size=size, l1_weight=1.0)[0])
    assert "scatter" not in str(jax.make_jaxpr(gradient)(raw))
