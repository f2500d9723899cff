"""OTA against a NumPy implementation, and its settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assignment_twins
from assignment_cases import CASES, NUM_CELLS, NUM_CLASSES, SIZE, as_targets, one_object, random_batch
from yolox_jax.anchors import anchor_points
from yolox_jax.assignment import assign
from yolox_jax.assignment.ota import scaled_log_plan, transport_costs
from yolox_jax.config import AssignmentConfig, OTAConfig
from yolox_jax.structures import Targets

CONFIG = AssignmentConfig(rule="ota")


@functools.partial(jax.jit, static_argnames="config")
def jitted_assign(raw, targets, config=CONFIG):
    return assign(raw, targets, image_size=SIZE, config=config)


@jax.jit
def plan(raw, targets):
    costs = transport_costs(raw, targets, image_size=SIZE, config=CONFIG.ota)
    return jnp.exp(scaled_log_plan(costs, targets.valid, CONFIG.ota))


@pytest.mark.parametrize(("num_slots", "num_images"), CASES)
def test_equals_the_numpy_implementation(num_slots, num_images):
    raw, boxes, classes, valid = random_batch(num_slots, num_images)
    targets = as_targets(boxes, classes, valid)
    assigned, plans = jax.device_get((jitted_assign(raw, targets), plan(raw, targets)))
    for image in range(num_images):
        expected, slots, ious = assignment_twins.ota(raw[image], boxes[image], classes[image], valid[image], SIZE)
        np.testing.assert_allclose(plans[image][[*slots, -1]], expected, rtol=0, atol=1e-4)
        matched = np.array([*slots, -1])[expected.argmax(axis=0)]
        second, first = np.sort(np.vstack([expected, np.zeros(expected.shape[1])]), axis=0)[-2:]
        decided = first - second > 1e-5
        assert decided.mean() > 0.7  # the others are of objects that are the same
        np.testing.assert_array_equal(assigned.matched_gt[image][decided], matched[decided])
        for anchor, slot in enumerate(assigned.matched_gt[image]):
            iou = ious[slot][anchor] if slot >= 0 else 0.0
            np.testing.assert_allclose(assigned.matched_iou[image, anchor], iou, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(assigned.foreground, assigned.matched_gt >= 0)
    assert assigned.foreground.sum() > num_images


def test_of_two_identical_objects_the_first_gets_every_anchor():
    raw, *_ = random_batch(8, 1)
    single = one_object([50, 30, 40, 40])
    twice = Targets(*(jnp.concatenate([x, x], axis=1) for x in single))
    matched = jitted_assign(raw, twice).matched_gt
    assert set(np.unique(matched).tolist()) == {-1, 0}


def test_an_object_without_candidates_goes_where_its_costs_are_lowest():
    """In float32, costs of 1e6 plus a fraction of one would be told apart in steps of 1/16."""
    raw = jnp.full((1, NUM_CELLS, 5 + NUM_CLASSES), -3.0).at[..., :4].set(0.0).at[0, 50, 5].set(-2.98)
    assigned = jitted_assign(raw, one_object([40, 40, 0, 0]))
    assert np.flatnonzero(assigned.foreground[0]).tolist() == [50]


def test_an_object_supplies_as_many_labels_as_the_sum_of_its_best_ious():
    # Every decoded box equals the object, so that all IoUs are 1: 25 candidates on the finest level, and 9 and 1 more.
    box = np.array([44.0, 28.0, 64.0, 50.0])
    grid, stride = anchor_points(SIZE)
    raw = np.zeros((1, NUM_CELLS, 5 + NUM_CLASSES), np.float32)
    raw[0, :, :2], raw[0, :, 2:4] = box[:2] / stride[:, None] - grid, np.log(box[2:] / stride[:, None])
    raw[0, :, 4:] = np.random.default_rng(0).normal(0, 1, raw[0, :, 4:].shape)
    for top_ious, most, least in ((20, 21, 19), (5, 6, 4)):
        config = AssignmentConfig(rule="ota", ota=OTAConfig(top_ious=top_ious, entropy=0.01, iterations=500))
        assert least <= jitted_assign(raw, one_object(box), config).foreground.sum() <= most


def test_without_objects_everything_is_background():
    raw, *targets = random_batch(8, 1)
    targets[2][:] = False
    assert not jitted_assign(raw, as_targets(*targets)).foreground.any()
