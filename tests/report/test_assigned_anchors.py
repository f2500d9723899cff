"""Label assignment as data: it says what `assign` does, whatever the rule and the network."""

import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from yolox_jax.assignment import assign
from yolox_jax.assignment.costs import match_costs
from yolox_jax.assignment.one_to_one import one_to_one
from yolox_jax.assignment.simota import dynamic_k
from yolox_jax.config import AssignmentConfig, ModelConfig
from yolox_jax.config.assignment import YOLOV3_ANCHORS, AssignmentRule
from yolox_jax.models import YOLOX, create_model
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.report.assigned_anchors import ImageAssignment, assigned_anchors
from yolox_jax.report.assignment_figures import summary_of
from yolox_jax.report.assignment_pictures import dots_of
from yolox_jax.structures import Targets

SIZE = (64, 96)
IMAGES = np.random.default_rng(0).integers(0, 255, (2, *SIZE, 3), np.uint8)


@functools.cache
def network(anchors: tuple[tuple[float, float], ...] = (), end_to_end: bool = False) -> tuple[YOLOX, jax.Array]:
    """A network and its output for the images, with the branch of an end-to-end network apart."""
    model = create_model(ModelConfig(variant="yolox_nano", anchors=anchors, end_to_end=end_to_end), 3)
    model.eval()
    graphdef, state = nnx.split(model)
    options = ForwardOptions(separate_one_to_one=True)
    # The same program as that of the code under test, so that the compilation cache may have it.
    predict = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images.astype(jnp.float32), options))
    return model, predict(state, IMAGES)


@pytest.fixture(scope="module")
def targets() -> Targets:
    """Objects of two images: one with many on top of each other and one outside of it; one without any."""
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(30, 40, (2, 12, 2)), rng.uniform(8, 40, (2, 12, 2))], axis=-1)
    boxes[0, 3, :2] = 300  # no anchor is near
    valid = np.ones((2, 12), bool)
    valid[0, 5], valid[1] = False, False
    arrays = boxes.astype(np.float32), rng.integers(0, 3, (2, 12)).astype(np.int32), valid
    return Targets(*map(jnp.asarray, arrays))


def check_matches(found: list[ImageAssignment], targets: Targets, matched: np.ndarray, iou: np.ndarray) -> None:
    slots = np.flatnonzero(np.asarray(targets.valid[0])).tolist()
    assert len(found[0].objects) == len(slots) == 11 and found[1].objects == []
    for slot, thing in zip(slots, found[0].objects, strict=True):
        assert sorted(anchor.place for anchor in thing.anchors) == np.flatnonzero(matched[0] == slot).tolist()
        assert thing.class_index == int(targets.classes[0, slot])
        assert all(anchor.iou == iou[0, anchor.place] for anchor in thing.anchors)


@pytest.mark.parametrize("rule", get_args(AssignmentRule))
def test_objects_get_the_anchors_that_training_gives_them(targets: Targets, rule: AssignmentRule) -> None:
    anchor_boxes = YOLOV3_ANCHORS if rule == "yolov3" else ()
    model, raw = network(anchor_boxes)
    config = AssignmentConfig(rule=rule, ignored_iou=0.3)
    found = assigned_anchors(model, IMAGES, targets, config)
    expected = assign(raw, targets, image_size=SIZE, config=config, anchors=anchor_boxes)
    matched = np.asarray(expected.matched_gt)
    check_matches(found, targets, matched, np.asarray(expected.matched_iou))
    has_costs = rule in ("simota", "ota")
    for thing in found[0].objects:
        costs = [anchor.cost for anchor in thing.anchors]
        if has_costs:
            assert costs == sorted(costs) and np.isfinite(costs).all()
        else:
            assert costs == [None] * len(costs) and thing.dynamic_k is thing.candidates is None
            ious = [anchor.iou for anchor in thing.anchors]
            assert ious == sorted(ious, reverse=True)
        assert {anchor.selected for anchor in thing.anchors} <= {None}
    summary = summary_of(found, has_costs=has_costs)
    assert summary["objects"] == 11 and summary["without_anchors"] == 11 - len(set(matched[0]) - {-1})
    assert summary["anchors"] == (matched[0] >= 0).sum() == sum(summary[f"stride_{s}"] for s in (8, 16, 32))
    assert ("mean_cost" in summary) == has_costs
    if rule == "yolov3":
        assert summary["ignored"] == np.sum(expected.ignored) > 0
    else:
        assert "ignored" not in summary


def test_costs_and_candidates_are_those_of_simota(targets: Targets) -> None:
    model, raw = network()
    found = assigned_anchors(model, IMAGES, targets, AssignmentConfig())
    costs = match_costs(raw, targets, image_size=SIZE)
    k = dynamic_k(costs.iou, AssignmentConfig().max_dynamic_k)
    for slot, thing in zip(np.flatnonzero(targets.valid[0]).tolist(), found[0].objects, strict=True):
        assert thing.dynamic_k == k[0, slot] and thing.candidates == costs.eligible[0, slot].sum()
        expected = np.asarray(costs.cost)[0, slot, [anchor.place for anchor in thing.anchors]]
        np.testing.assert_allclose([anchor.cost for anchor in thing.anchors], expected, rtol=1e-5)


def test_an_ota_object_has_about_as_many_anchors_as_it_supplies_labels_and_candidates_inside_it(
    targets: Targets,
) -> None:
    one = targets._replace(valid=jnp.zeros_like(targets.valid).at[0, 0].set(True))
    model, _ = network()
    (thing,) = assigned_anchors(model, IMAGES, one, AssignmentConfig(rule="ota"))[0].objects
    x1, y1, x2, y2 = thing.box
    assert 0 < len(thing.anchors) <= thing.candidates
    for anchor in thing.anchors:
        assert x1 < anchor.x < x2 and y1 < anchor.y < y2 and anchor.cost < 1e6
    assert 1 <= thing.dynamic_k <= thing.candidates


def test_anchor_boxes_are_those_of_their_level(targets: Targets) -> None:
    model, _ = network(YOLOV3_ANCHORS)
    found = assigned_anchors(model, IMAGES, targets, AssignmentConfig(rule="yolov3"))
    assert found[0].boxes_per_cell == 3
    boxes = {8: YOLOV3_ANCHORS[:3], 16: YOLOV3_ANCHORS[3:6], 32: YOLOV3_ANCHORS[6:]}
    anchors = [anchor for thing in found[0].objects for anchor in thing.anchors]
    assert anchors
    for anchor in anchors:
        assert anchor.box_of_cell == anchor.place % 3
        assert anchor.anchor_box == boxes[anchor.stride][anchor.box_of_cell]


def test_an_anchor_free_network_borrows_the_boxes_of_coco_for_the_rule_of_yolov3(targets: Targets) -> None:
    model, raw = network()
    config = AssignmentConfig(rule="yolov3")
    found = assigned_anchors(model, IMAGES, targets, config)
    raw = jnp.repeat(raw, 3, axis=1)
    expected = assign(raw, targets, image_size=SIZE, config=config, anchors=YOLOV3_ANCHORS)
    check_matches(found, targets, np.asarray(expected.matched_gt), np.asarray(expected.matched_iou))
    assert found[0].boxes_per_cell == 3 and found[0].ignored is None


@pytest.mark.parametrize("rule", ["simota", "multi_positives"])
def test_the_anchor_that_an_object_of_an_end_to_end_network_selects_is_marked(
    targets: Targets, rule: AssignmentRule
) -> None:
    model, raw = network(end_to_end=True)
    config = AssignmentConfig(rule=rule)
    found = assigned_anchors(model, IMAGES, targets, config)
    assigned = assign(raw[..., :-1], targets, image_size=SIZE, config=config)
    check_matches(found, targets, np.asarray(assigned.matched_gt), np.asarray(assigned.matched_iou))
    selected = np.asarray(one_to_one(raw, targets, assigned, config=config).foreground)[0]
    marked = [anchor.place for thing in found[0].objects for anchor in thing.anchors if anchor.selected]
    assert sorted(marked) == np.flatnonzero(selected).tolist() and marked
    assert sum(dot.selected for dot in dots_of(found[0].objects)) == len(marked)


def test_dots_lie_where_the_anchors_are_and_the_cheapest_is_brightest(targets: Targets) -> None:
    model, raw = network()
    objects = assigned_anchors(model, IMAGES, targets, AssignmentConfig())[0].objects
    matched = np.asarray(assign(raw, targets, image_size=SIZE).matched_gt)
    dots = dots_of(objects)
    assert len(dots) == (matched[0] >= 0).sum()
    strides = np.repeat([8, 16, 32], [8 * 12, 4 * 6, 2 * 3])
    rows = np.concatenate([np.repeat(np.arange(64 // s), 96 // s) for s in (8, 16, 32)])
    columns = np.concatenate([np.tile(np.arange(96 // s), 64 // s) for s in (8, 16, 32)])
    slots = np.flatnonzero(np.asarray(targets.valid[0])).tolist()
    expected = [
        ((columns[p] + 0.5) * strides[p], (rows[p] + 0.5) * strides[p], strides[p], slots.index(matched[0, p]))
        for p in np.flatnonzero(matched[0] >= 0)
    ]
    assert sorted((dot.x, dot.y, dot.stride, dot.object_index) for dot in dots) == sorted(expected)
    for anchor in (anchor for thing in objects for anchor in thing.anchors):
        assert (anchor.row, anchor.column) == (rows[anchor.place], columns[anchor.place])
    for number, thing in enumerate(objects):
        own = [dot.brightness for dot in dots if dot.object_index == number]
        assert len(own) == len(thing.anchors) and own == sorted(own, reverse=True)
        assert not own or own[0] == 1.0
    assert {dot.change for dot in dots} == {"kept"}
