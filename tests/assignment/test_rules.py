"""What holds for every assignment rule."""

import typing

import jax
import jax.numpy as jnp
import pytest

from assignment_cases import SIZE, as_targets, largest_array, random_batch
from yolox_jax.assignment import assign
from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Targets

ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
RULES = typing.get_args(typing.get_type_hints(AssignmentConfig)["rule"])


def anchors_of(rule):
    return ANCHORS if rule == "yolov3" else ()


@pytest.mark.parametrize("rule", RULES)
def test_no_array_has_an_axis_of_classes_beside_objects_and_anchors(rule):
    """8 images of 640x640 with 120 slots and 80 classes."""
    anchors = anchors_of(rule)
    num_anchors = 8400 * (len(anchors) // 3 or 1)
    raw = jax.ShapeDtypeStruct((8, num_anchors, 85), jnp.float32)
    kinds = ((8, 120, 4), jnp.float32), ((8, 120), jnp.int32), ((8, 120), jnp.bool_)
    targets = Targets(*(jax.ShapeDtypeStruct(*kind) for kind in kinds))
    config = AssignmentConfig(rule=rule)
    traced = jax.jit(lambda *x: assign(*x, image_size=(640, 640), config=config, anchors=anchors)).trace(raw, targets)
    pairs = 8 * 120 * num_anchors * 4
    assert pairs <= largest_array(traced.jaxpr.jaxpr) <= 2 * pairs


@pytest.mark.parametrize("rule", RULES)
def test_there_is_no_gradient_and_results_are_float32_for_any_input_dtype(rule):
    anchors, config = anchors_of(rule), AssignmentConfig(rule=rule)
    raw, *targets = random_batch(8, 4, per_cell=len(anchors) // 3 or 1)

    def total(raw):
        assigned = assign(raw, as_targets(*targets), image_size=SIZE, config=config, anchors=anchors)
        return assigned.matched_iou.sum(), assigned

    half = jnp.asarray(raw, jnp.bfloat16)
    (_, assigned), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(half)
    assert not gradient.any()
    assert assigned.foreground.any()
    assert assigned.matched_iou.dtype == jnp.float32
    assert assigned.matched_gt.dtype == jnp.int32
