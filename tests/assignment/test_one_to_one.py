"""One-to-one assignment against a greedy NumPy implementation, after two rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assignment_twins
from assignment_cases import CASES, NUM_CELLS, NUM_CLASSES, SIZE, as_targets, one_object, random_batch
from yolox_jax.assignment import assign
from yolox_jax.assignment.one_to_one import one_to_one
from yolox_jax.config import AssignmentConfig


@functools.partial(jax.jit, static_argnames="config")
def both(raw, targets, config=AssignmentConfig()):
    assigned = assign(raw[..., :-1], targets, image_size=SIZE, config=config)
    return assigned, one_to_one(raw, targets, assigned, config=config)


@pytest.mark.parametrize("rule", ["simota", "multi_positives"])
@pytest.mark.parametrize(("num_slots", "num_images"), CASES)
def test_equals_the_numpy_implementation(rule, num_slots, num_images):
    raw, boxes, classes, valid = random_batch(num_slots, num_images, channels=6 + NUM_CLASSES)
    assigned, got = jax.device_get(both(raw, as_targets(boxes, classes, valid), AssignmentConfig(rule=rule)))
    for image in range(num_images):
        matched, iou = assigned.matched_gt[image], assigned.matched_iou[image]
        expected = np.full(NUM_CELLS, -1)
        for slot, anchor in assignment_twins.one_to_one(raw[image], classes[image], matched, iou).items():
            expected[anchor] = slot
        np.testing.assert_array_equal(got.matched_gt[image], expected)
        np.testing.assert_array_equal(got.matched_iou[image], np.where(expected >= 0, iou, 0.0))
    np.testing.assert_array_equal(got.foreground, got.matched_gt >= 0)
    assert got.foreground.sum() < assigned.foreground.sum()


def anchors_selected(raw, config=AssignmentConfig(rule="multi_positives")):
    """Of one object that is assigned 3x3 cells: columns 1 to 3 of rows 1 to 3 on the finest level."""
    _, got = both(raw, one_object([20, 20, 16, 16]), config)
    return np.flatnonzero(got.foreground[0]).tolist()


def test_power_of_the_iou_decides_between_score_and_overlap():
    raw = jnp.full((1, NUM_CELLS, 6 + NUM_CLASSES), -3.0).at[..., :4].set(0.0)
    raw = raw.at[0, 14, -1].set(3.0)  # the score is best here
    raw = raw.at[0, 27, :4].set(jnp.array([-0.5, 0.5, jnp.log(2.0), jnp.log(2.0)]))  # the box is best here
    assert anchors_selected(raw, AssignmentConfig(rule="multi_positives", one_to_one_iou_power=0.0)) == [14]
    assert anchors_selected(raw, AssignmentConfig(rule="multi_positives", one_to_one_iou_power=1.0)) == [27]


def test_the_first_of_equals_is_selected():
    raw = jnp.zeros((1, NUM_CELLS, 6 + NUM_CLASSES)).at[..., 2:4].set(-30.0)  # boxes without extent: no overlap
    assert anchors_selected(raw) == [13]


def test_tiny_scores_are_still_told_apart():
    raw = jnp.full((1, NUM_CELLS, 6 + NUM_CLASSES), -60.0).at[..., :4].set(0.0).at[0, 26, 5].set(-59.0)
    assert anchors_selected(raw) == [26]
