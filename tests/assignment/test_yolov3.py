"""The rule of YOLOv3 against a NumPy implementation, and cases worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assignment_twins
from assignment_cases import CASES, NUM_CELLS, SIZE, as_targets, assert_matches, one_object, random_batch
from yolox_jax.assignment import assign
from yolox_jax.config import AssignmentConfig

ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
CONFIG = AssignmentConfig(rule="yolov3")


@functools.partial(jax.jit, static_argnames=("config", "anchors"))
def jitted_assign(raw, targets, config=CONFIG, anchors=ANCHORS):
    return assign(raw, targets, image_size=SIZE, config=config, anchors=anchors)


@pytest.mark.parametrize(("num_slots", "num_images"), CASES)
def test_equals_the_numpy_implementation(num_slots, num_images):
    raw, boxes, classes, valid = random_batch(num_slots, num_images, per_cell=3)
    assigned = jax.device_get(jitted_assign(raw, as_targets(boxes, classes, valid)))
    num_ignored = 0
    for image in range(num_images):
        expected, ignored = assignment_twins.yolov3(raw[image], boxes[image], valid[image], SIZE, ANCHORS)
        assert_matches(assigned, image, expected)
        np.testing.assert_array_equal(assigned.ignored[image], ignored)
        num_ignored += ignored.sum()
    assert num_ignored > 0
    assert assigned.foreground.sum() > num_images


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([20.0, 9.0, 10.0, 13.0], 3 * (12 + 2)),  # stride 8, column 2, row 1, first box
        ([20.0, 9.0, 33.0, 23.0], 3 * (12 + 2) + 2),
        ([20.0, 9.0, 59.0, 119.0], 3 * (96 + 1) + 2),  # stride 16, column 1, row 0
        ([95.9, 63.9, 400.0, 400.0], 3 * (120 + 5) + 2),  # stride 32, the last cell
        ([20.0, 9.0, 0.0, 13.0], 3 * (12 + 2)),  # as similar to each of the boxes: the first
    ],
)
def test_the_most_similar_anchor_box_at_the_centre_is_assigned(box, expected):
    assigned = jitted_assign(jnp.zeros((1, 3 * NUM_CELLS, 8)), one_object(box))
    assert np.flatnonzero(assigned.matched_gt[0] == 0).tolist() == [expected]


@pytest.mark.parametrize("centre", [(-0.1, 30), (96, 30), (30, -0.1), (30, 64), (np.nan, 30)])
def test_an_object_with_its_centre_outside_the_image_gets_nothing(centre):
    assigned = jitted_assign(jnp.zeros((1, 3 * NUM_CELLS, 8)), one_object([*centre, 90.0, 60.0]))
    assert not assigned.foreground.any()


def test_other_numbers_of_anchor_boxes_are_split_evenly_over_the_levels():
    assigned = jitted_assign(
        jnp.zeros((1, NUM_CELLS, 8)), one_object([20, 9, 55, 60]), anchors=((16, 16), (64, 64), (200, 200))
    )
    assert np.flatnonzero(assigned.foreground[0]).tolist() == [96 + 1]


def test_the_ignored_iou_is_a_setting():
    raw, *targets = random_batch(8, 4, per_cell=3)
    every = jitted_assign(raw, as_targets(*targets), config=AssignmentConfig(rule="yolov3", ignored_iou=0.0))
    none = jitted_assign(raw, as_targets(*targets), config=AssignmentConfig(rule="yolov3", ignored_iou=1.0))
    assert every.ignored.sum() > 100
    assert none.ignored.sum() == 0
    assert not (every.ignored & every.foreground).any()


@pytest.mark.parametrize("anchors", [(), ANCHORS[:3], ANCHORS[:6]])
def test_a_network_with_other_anchor_boxes_is_rejected(anchors):
    with pytest.raises(ValueError, match=f"with {len(anchors)} anchor boxes, .* not 378; pass the anchor boxes"):
        assign(jnp.zeros((1, 378, 8)), one_object([20, 9, 10, 13]), image_size=SIZE, config=CONFIG, anchors=anchors)
