"""The rules `centre` and `multi_positives` against a NumPy implementation, and cases worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assignment_twins
from assignment_cases import CASES, NUM_CELLS, SIZE, as_targets, assert_matches, one_object, random_batch
from yolox_jax.assignment import assign
from yolox_jax.config import AssignmentConfig

CENTRE, MULTI_POSITIVES = AssignmentConfig(rule="centre"), AssignmentConfig(rule="multi_positives")
RULES = [(CENTRE, 0), (MULTI_POSITIVES, 1)]


@functools.partial(jax.jit, static_argnames="config")
def jitted_assign(raw, targets, config):
    return assign(raw, targets, image_size=SIZE, config=config)


@pytest.mark.parametrize(("num_slots", "num_images"), CASES)
@pytest.mark.parametrize(("config", "reach"), RULES)
def test_equals_the_numpy_implementation(config, reach, num_slots, num_images):
    raw, boxes, classes, valid = random_batch(num_slots, num_images)
    assigned = jax.device_get(jitted_assign(raw, as_targets(boxes, classes, valid), config))
    assert assigned.ignored is None
    assert assigned.foreground.sum() > num_images
    for image in range(num_images):
        expected = assignment_twins.about_centre(raw[image], boxes[image], valid[image], SIZE, reach)
        assert_matches(assigned, image, expected)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [((64, 3), 12 * 1 + 2), ((64.5, 3), 96 + 1), ((3, 128), 96 + 1), ((128.5, 20), 120), ((500, 500), 120)],
)
def test_the_longest_side_chooses_the_level(sides, expected):
    assigned = jitted_assign(jnp.zeros((1, NUM_CELLS, 8)), one_object([20, 9, *sides]), CENTRE)
    assert np.flatnonzero(assigned.foreground[0]).tolist() == [expected]


def test_the_sizes_of_the_levels_are_a_setting():
    config = AssignmentConfig(rule="centre", level_sizes_px=(10, 20))
    assigned = jitted_assign(jnp.zeros((1, NUM_CELLS, 8)), one_object([20, 9, 15, 15]), config)
    assert np.flatnonzero(assigned.foreground[0]).tolist() == [96 + 1]


@pytest.mark.parametrize(
    ("centre", "count"), [((20, 20), 9), ((4, 20), 6), ((95, 63), 4), ((-1, 20), 0), ((20, 64), 0)]
)
def test_cells_outside_the_grid_are_left_out(centre, count):
    assigned = jitted_assign(jnp.zeros((1, NUM_CELLS, 8)), one_object([*centre, 30, 30]), MULTI_POSITIVES)
    assert assigned.foreground.sum() == count
