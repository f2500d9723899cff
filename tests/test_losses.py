"""Losses and their gradients against the reference arrays, and edge cases."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.assignment import assign
from yolox_jax.assignment.one_to_one import one_to_one
from yolox_jax.config import AssignmentConfig, LossConfig
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


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize("rule", ["simota", "ota", "multi_positives", "centre", "yolov3"])
def test_the_gradient_contains_no_scatter(rule, end_to_end):
    """Scatters are not deterministic on GPUs (docs/yolox.md, 6.1)."""
    raw, targets, size = load("overlapping")
    settings = {"assignment": AssignmentConfig(rule=rule), "end_to_end": end_to_end}
    if rule == "yolov3":
        settings["anchors"] = ((16, 16), (64, 64), (200, 200))
    if end_to_end:
        raw = jnp.concatenate([raw, raw[..., :1]], axis=-1)
    gradient = jax.grad(lambda raw: detection_loss(raw, targets, image_size=size, l1_weight=1.0, **settings)[0])
    assert "scatter" not in str(jax.make_jaxpr(gradient)(raw))


def test_objectness_leaves_out_what_the_rule_ignores():
    raw, targets, size = load("overlapping")
    anchors, config = ((16, 16), (64, 64), (200, 200)), AssignmentConfig(rule="yolov3", ignored_iou=0.05)

    @jax.jit
    def objectness(raw):
        loss = detection_loss(raw, targets, image_size=size, assignment=config, anchors=anchors)[1]["objectness"]
        return loss, assign(raw, targets, image_size=size, config=config, anchors=anchors)

    (loss, assigned), gradient = jax.value_and_grad(objectness, has_aux=True)(raw)
    logit = np.asarray(raw[..., 4], np.float64)
    each = np.log1p(np.exp(logit)) - logit * np.asarray(assigned.foreground)
    assert 10 < assigned.ignored.sum() < logit.size / 2
    np.testing.assert_allclose(loss, each[~assigned.ignored].sum() / assigned.foreground.sum(), rtol=1e-5)
    np.testing.assert_array_equal(gradient[..., 4] == 0, assigned.ignored)


END_TO_END_SIZE = (32, 64)
"""42 anchors."""


def end_to_end_case(*, largest_logit):
    """Two images, one of them empty, with class, objectness and one-to-one logits in steps up to the largest."""
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 0.5, (2, 42, 9))
    raw[..., 4:] = rng.choice(np.array([-1, -0.1, 0, 0.1, 1]) * largest_logit, raw[..., 4:].shape)
    boxes = jnp.array([[[12, 12, 20, 20], [44, 16, 30, 24], [np.nan] * 4]] * 2, jnp.float32)
    valid = jnp.array([[True, True, False], [False, False, False]])
    return jnp.asarray(raw, jnp.float32), Targets(boxes, jnp.array([[2, 0, -1]] * 2, jnp.int32), valid)


@jax.jit
def one_to_one_loss(raw, targets):
    return detection_loss(raw, targets, image_size=END_TO_END_SIZE, end_to_end=True)[1]["one_to_one"]


@jax.jit
def selected_objects(raw, targets):
    assigned = assign(raw[..., :-1], targets, image_size=END_TO_END_SIZE)
    return one_to_one(raw, targets, assigned).matched_gt


@pytest.mark.parametrize("largest_logit", [2.0, 30.0])
def test_one_to_one_loss_and_its_gradient_equal_float64(largest_logit):
    raw, targets = end_to_end_case(largest_logit=largest_logit)
    loss, gradient = jax.value_and_grad(one_to_one_loss)(raw, targets)
    selected = selected_objects(raw, targets)
    classes = np.array([2, 0])[selected]
    positive = (np.arange(3) == classes[..., None]) & (np.asarray(selected) >= 0)[..., None]
    logits = np.asarray(raw, np.float64)
    log_p = -sum(np.logaddexp(0, -x) for x in (logits[..., 5:-1], logits[..., 4:5], logits[..., -1:]))
    log_not_p = np.log(-np.expm1(log_p))
    not_one = 1 / (1 + np.exp(logits[..., -1:]))
    expected_gradient = np.where(positive, -not_one, np.exp(log_p - log_not_p) * not_one).sum(-1)
    assert positive.sum() == 2
    np.testing.assert_allclose(loss, -np.where(positive, log_p, log_not_p).sum() / 2, rtol=1e-5)
    np.testing.assert_allclose(gradient[..., -1], expected_gradient / 2, rtol=1e-5, atol=1e-7)
    assert not gradient[..., :-1].any()


def test_one_to_one_loss_of_extreme_logits_is_finite():
    raw, targets = end_to_end_case(largest_logit=300.0)
    loss, gradient = jax.value_and_grad(one_to_one_loss)(raw, targets)
    assert jnp.isfinite(loss)
    assert jnp.isfinite(gradient).all()


def test_the_one_to_one_loss_comes_on_top_of_the_others_with_its_weight():
    raw, targets = end_to_end_case(largest_logit=2.0)

    @jax.jit
    def losses(raw):
        weights = LossConfig(one_to_one_weight=0.5)
        _, plain = detection_loss(raw[..., :-1], targets, image_size=END_TO_END_SIZE)
        return plain, *detection_loss(raw, targets, image_size=END_TO_END_SIZE, config=weights, end_to_end=True)

    plain, total, parts = losses(raw)
    assert set(parts) == {*plain, "one_to_one"}
    for name, value in plain.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-6)
    np.testing.assert_allclose(parts["one_to_one"], one_to_one_loss(raw, targets) / 2, rtol=1e-6)
    np.testing.assert_allclose(total, sum(parts[name] for name in (*PARTS, "one_to_one")), rtol=1e-6)


def test_one_to_one_losses_of_a_batch_split_over_an_axis_add_up_to_that_of_the_whole():
    raw, targets = end_to_end_case(largest_logit=2.0)

    def share(raw, targets):
        return detection_loss(raw[None], targets, image_size=END_TO_END_SIZE, end_to_end=True, axis_name="data")[1]

    parts = jax.jit(jax.vmap(share, axis_name="data"))(raw, Targets(*(x[:, None] for x in targets)))
    np.testing.assert_allclose(parts["one_to_one"].sum(), one_to_one_loss(raw, targets), rtol=1e-6)
