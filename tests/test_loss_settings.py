"""Class weights, focal loss and label smoothing against loops in float64, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.assignment import assign
from yolox_jax.config import LossConfig
from yolox_jax.losses import detection_loss, loss_weights
from yolox_jax.structures import Targets

SIZE = (32, 64)
"""42 anchors."""
NUM_CLASSES = 3
SETTINGS = {
    "balanced focal": LossConfig(
        classification_focal_gamma=1.0,
        classification_focal_alpha=0.25,
        objectness_focal_gamma=3.5,
        objectness_focal_alpha=0.9,
    ),
    "alpha alone": LossConfig(classification_focal_alpha=0.75, objectness_focal_alpha=0.25),
    "smoothed": LossConfig(label_smoothing=0.1),
    "everything": LossConfig(
        classification_weight=2.0,
        objectness_weight=0.5,
        classification_focal_gamma=1.5,
        classification_focal_alpha=0.5,
        objectness_focal_gamma=1.0,
        objectness_focal_alpha=0.25,
        label_smoothing=0.3,
    ),
}
CLASS_WEIGHTS = (0.25, 4.0, 1.0)


def batch(largest_logit=3.0):
    """Two images with objects of every class, and one without objects."""
    raw = np.random.default_rng(0).normal(0, 0.5, (3, 42, 5 + NUM_CLASSES))
    raw[..., 4:] *= 2 * largest_logit
    boxes = jnp.array([[[12, 12, 20, 20], [44, 16, 30, 24], [np.nan] * 4]] * 3, jnp.float32)
    valid = jnp.array([[True, True, False]] * 2 + [[False] * 3])
    classes = jnp.array([[2, 0, -1], [1, 0, -1], [-1, -1, -1]], jnp.int32)
    return jnp.asarray(raw, jnp.float32), Targets(boxes, classes, valid)


@jax.jit
def loss_and_gradient(raw, targets, weights):
    def loss(raw):
        return detection_loss(raw, targets, image_size=SIZE, config=weights)

    (total, parts), gradient = jax.value_and_grad(loss, has_aux=True)(raw)
    return total, parts, gradient, assign(raw, targets, image_size=SIZE)


def focal_twin(logits, target, gamma, alpha):
    p = 1 / (1 + np.exp(-logits))
    loss = -target * np.log(p) - (1 - target) * np.log(1 - p)
    loss = loss if gamma is None else np.abs(target - p) ** gamma * loss
    return loss if alpha is None else (alpha * target + (1 - alpha) * (1 - target)) * loss


def twin(logits, assigned, classes, config, class_weights):
    """The loss of every objectness and class logit in float64, already divided by the number of foreground anchors."""
    loss = np.zeros(logits.shape)
    foreground, matched, iou = (np.asarray(x) for x in assigned[:3])
    for image, anchor in np.ndindex(foreground.shape):
        own = logits[image, anchor]
        loss[image, anchor, 0] = config.objectness_weight * focal_twin(
            own[0],
            float(foreground[image, anchor]),
            config.objectness_focal_gamma,
            config.objectness_focal_alpha,
        )
        if not foreground[image, anchor]:
            continue
        label = classes[image, matched[image, anchor]]
        for index in range(NUM_CLASSES):
            one_hot = (1 - config.label_smoothing) * (index == label) + config.label_smoothing / NUM_CLASSES
            loss[image, anchor, 1 + index] = (
                config.classification_weight
                * class_weights[label]
                * focal_twin(
                    own[1 + index],
                    float(iou[image, anchor]) * one_hot,
                    config.classification_focal_gamma,
                    config.classification_focal_alpha,
                )
            )
    return loss / foreground.sum()


@pytest.mark.parametrize(
    ("name", "class_weights"), [(name, None) for name in SETTINGS] + [("everything", CLASS_WEIGHTS)]
)
def test_losses_and_gradients_equal_loops_in_float64(name, class_weights):
    raw, targets = batch()
    config = SETTINGS[name]
    _, parts, gradient, assigned = loss_and_gradient(raw, targets, loss_weights(config, class_weights))
    logits, classes = np.asarray(raw[..., 4:], np.float64), np.asarray(targets.classes)
    assert {0, 1, 2} == set(np.take_along_axis(classes, np.asarray(assigned.matched_gt), 1)[assigned.foreground])

    def expected(logits):
        return twin(logits, assigned, classes, config, class_weights or (1.0, 1.0, 1.0))

    np.testing.assert_allclose(parts["objectness"], expected(logits)[..., 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(parts["classification"], expected(logits)[..., 1:].sum(), rtol=1e-5)
    step = 1e-6  # each logit has a loss of its own, so that one difference gives the whole gradient
    difference = (expected(logits + step) - expected(logits - step)) / (2 * step)
    np.testing.assert_allclose(gradient[..., 4:], difference, rtol=1e-4, atol=1e-6)


def test_class_weights_of_1_change_no_bit_and_others_the_classification_loss_alone():
    raw, targets = batch()
    plain = loss_and_gradient(raw, targets, loss_weights(LossConfig()))
    ones = loss_and_gradient(raw, targets, loss_weights(LossConfig(), (1.0, 1.0, 1.0)))
    jax.tree.map(np.testing.assert_array_equal, plain, ones)
    _, parts, gradient, _ = loss_and_gradient(raw, targets, loss_weights(LossConfig(), CLASS_WEIGHTS))
    assert {name for name, value in parts.items() if value != plain[1][name]} == {"classification"}
    np.testing.assert_array_equal(gradient[..., :5], plain[2][..., :5])


def test_other_values_of_a_setting_compile_nothing():
    raw, targets = batch()
    compiled = set()
    for gamma, first in ((1.0, 0.5), (2.0, 1.5)):
        config = LossConfig(classification_focal_gamma=gamma, label_smoothing=gamma / 10)
        loss_and_gradient(raw, targets, jax.tree.map(np.float32, loss_weights(config, (first, 1.0, 1.0))))
        compiled.add(loss_and_gradient._cache_size())
    assert len(compiled) == 1


@pytest.mark.parametrize("gamma", [1.0, 1.5, 4.0])
def test_focal_losses_of_extreme_logits_have_finite_gradients(gamma):
    raw, targets = batch(largest_logit=1e4)
    config = LossConfig(
        classification_focal_gamma=gamma,
        classification_focal_alpha=0.0,
        objectness_focal_gamma=gamma,
        objectness_focal_alpha=1.0,
        label_smoothing=0.1,
    )
    weights = jax.tree.map(np.float32, loss_weights(config, CLASS_WEIGHTS))
    total, _, gradient, assigned = loss_and_gradient(raw, targets, weights)
    assert assigned.foreground.any()
    assert jnp.isfinite(total)
    assert jnp.isfinite(gradient).all()


def test_smoothing_spreads_nothing_where_there_is_one_class():
    raw, targets = batch()
    one = raw[..., :6], targets._replace(classes=jnp.zeros_like(targets.classes))
    plain, smoothed = (
        jax.jit(lambda raw, targets, config=config: detection_loss(raw, targets, image_size=SIZE, config=config)[0])(
            *one
        )
        for config in (LossConfig(), LossConfig(label_smoothing=0.5))
    )
    np.testing.assert_allclose(plain, smoothed, rtol=1e-6)


def test_weighted_losses_of_a_batch_split_over_an_axis_add_up_and_leave_the_one_to_one_branch_alone():
    raw, targets = batch()
    raw = jnp.concatenate([raw, raw[..., :1]], axis=-1)

    def parts(raw, targets, weights, axis_name=None):
        settings = {"config": weights, "end_to_end": True, "axis_name": axis_name}
        return detection_loss(raw, targets, image_size=SIZE, **settings)[1]

    def share(raw, targets):
        return parts(raw[None], targets, weights, "data")

    weights = loss_weights(SETTINGS["everything"], CLASS_WEIGHTS)
    spread = jax.vmap(share, axis_name="data")
    whole, shares, plain = jax.jit(
        lambda raw, targets: (
            parts(raw, targets, weights),
            spread(raw, Targets(*(x[:, None] for x in targets))),
            parts(raw, targets, LossConfig()),
        )
    )(raw, targets)
    for name in ("objectness", "classification", "one_to_one"):
        np.testing.assert_allclose(shares[name].sum(), whole[name], rtol=1e-5)
    assert whole["one_to_one"] == plain["one_to_one"] != 0
    assert whole["classification"] != plain["classification"]


def test_class_weights_by_name_are_refused_where_classes_have_no_names():
    raw, targets = batch()
    with pytest.raises(ValueError, match="classes by index"):
        detection_loss(raw, targets, image_size=SIZE, config=LossConfig(class_weights=("balanced",)))
