"""The sums of the losses of each image, from which those of a dataset follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assignment_cases import as_targets, random_batch
from yolox_jax.config import AssignmentConfig, LossConfig
from yolox_jax.evaluation.validation_loss import LossSums, mean_losses
from yolox_jax.losses import detection_loss

SIZE = (64, 96)
STATIC = ("image_size", "assignment", "anchors", "end_to_end")


def test_networks_with_anchor_boxes_have_the_losses_of_one_batch():
    anchors = ((16, 16), (64, 64), (200, 200))
    raw, *targets = random_batch(8, 4)
    config = AssignmentConfig(rule="yolov3")
    sums = jax.jit(LossSums(LossConfig(), config, anchors), static_argnums=2)(
        jnp.asarray(raw), as_targets(*targets), SIZE
    )
    losses = mean_losses(np.asarray(sums))
    _, expected = jax.jit(detection_loss, static_argnames=STATIC)(
        jnp.asarray(raw), as_targets(*targets), image_size=SIZE, l1_weight=1.0, assignment=config, anchors=anchors
    )
    assert set(losses) == {"loss", "iou", "objectness", "classification", "l1"}
    for name in set(losses) - {"loss"}:
        assert losses[name] == pytest.approx(float(expected[name]), rel=1e-4)


def test_end_to_end_networks_have_one_more_loss_which_counts_in_their_sum():
    raw, *targets = random_batch(8, 1, channels=9)
    targets = as_targets(*targets)._replace(valid=jnp.ones((1, 8), bool), boxes=jnp.full((1, 8, 4), 30.0))
    function = LossSums(LossConfig(), AssignmentConfig(), end_to_end=True)
    losses = mean_losses(np.asarray(jax.jit(function, static_argnums=2)(jnp.asarray(raw), targets, SIZE)))
    _, expected = jax.jit(detection_loss, static_argnames=STATIC)(
        jnp.asarray(raw), targets, image_size=SIZE, end_to_end=True
    )
    assert losses["one_to_one"] == pytest.approx(float(expected["one_to_one"]), rel=1e-5)
    parts = ("iou", "objectness", "classification", "one_to_one")
    assert losses["loss"] == pytest.approx(sum(losses[name] for name in parts))
