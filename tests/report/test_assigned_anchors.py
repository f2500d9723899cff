"""Label assignment as data and as marks in a picture: both say what `assign` does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.assignment import assign
from yolox_jax.config import AssignmentConfig
from yolox_jax.models import create_model
from yolox_jax.report.assigned_anchors import (
    AssignedAnchor,
    AssignedObject,
    assigned_anchors,
    change_of,
    summary_of,
)
from yolox_jax.report.assignment_pictures import Dot, dots_of, draw_assignment, draw_legend
from yolox_jax.structures import Targets

SIZE = (64, 96)


@pytest.fixture(scope="module")
def assigned() -> tuple[Targets, list[list[AssignedObject]], np.ndarray]:
    """Two images: one with many objects on top of each other and one outside of it; one without any."""
    model = create_model("yolox_nano", 3)
    model.eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, *SIZE, 3), np.uint8)
    boxes = np.concatenate([rng.uniform(30, 40, (2, 12, 2)), rng.uniform(8, 40, (2, 12, 2))], axis=-1)
    boxes[0, 3, :2] = 300  # no anchor is near
    valid = np.ones((2, 12), bool)
    valid[0, 5], valid[1] = False, False
    arrays = boxes.astype(np.float32), rng.integers(0, 3, (2, 12)).astype(np.int32), valid
    targets = Targets(*map(jnp.asarray, arrays))
    found = assigned_anchors(model, images, targets, AssignmentConfig())
    raw = jax.jit(model)(images.astype(np.float32))
    return targets, found, np.asarray(assign(raw, targets, image_size=SIZE).matched_gt)


def test_objects_get_the_anchors_that_training_gives_them(assigned):
    targets, found, matched = assigned
    slots = np.flatnonzero(np.asarray(targets.valid[0])).tolist()
    assert len(found[0]) == len(slots) == 11 and found[1] == []
    for slot, thing in zip(slots, found[0], strict=True):
        assert sorted(anchor.place for anchor in thing.anchors) == np.flatnonzero(matched[0] == slot).tolist()
        assert thing.class_index == int(targets.classes[0, slot])
        costs = [anchor.cost for anchor in thing.anchors]
        assert costs == sorted(costs) and np.isfinite(costs).all()
        assert all(0 <= anchor.iou <= 1 and len(thing.anchors) <= thing.candidates for anchor in thing.anchors)
    summary = summary_of(found[0])
    assert summary["objects"] == 11 and summary["without_anchors"] == 11 - len(set(matched[0]) - {-1})
    assert summary["anchors"] == (matched[0] >= 0).sum() == sum(summary[f"stride_{s}"] for s in (8, 16, 32))


def test_dots_lie_where_the_anchors_are_and_the_cheapest_is_brightest(assigned):
    targets, found, matched = assigned
    dots = dots_of(found[0])
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
    for anchor in (anchor for thing in found[0] for anchor in thing.anchors):
        assert (anchor.row, anchor.column) == (rows[anchor.place], columns[anchor.place])
    for number, thing in enumerate(found[0]):
        own = [dot.brightness for dot in dots if dot.object_index == number]
        assert len(own) == len(thing.anchors) and own == sorted(own, reverse=True)
        assert not own or own[0] == 1.0
    assert {dot.change for dot in dots} == {"kept"}


def thing(*places: int) -> AssignedObject:
    anchors = tuple(AssignedAnchor(place, 8, 0, place, 8.0 * place, 4.0, 0.5, 1.0) for place in places)
    return AssignedObject(0, (0, 0, 9, 9), 3, 9, anchors)


def test_matches_kept_gained_and_lost_are_counted_by_object():
    before = [thing(1, 2, 9), thing(3), thing(), thing(7)]
    # The second object takes an anchor of the first, which is a loss and a gain.
    after = [thing(1), thing(2, 3), thing(5), thing()]
    assert change_of(before, after) == {
        "kept": 2,
        "gained": 2,
        "lost": 3,
        "objects_changed": 4,
        "objects_left_without": 1,
        "objects_no_longer_without": 1,
    }
    same = change_of(before, before)
    assert same.pop("kept") == 5 and not any(same.values())


def test_dots_tell_what_was_gained_and_lost():
    dots = dots_of([thing(1, 2)], before=[thing(2, 3)])
    assert {(dot.x, dot.change) for dot in dots} == {(8.0, "gained"), (16.0, "kept"), (24.0, "lost")}


def test_an_object_without_anchors_stands_out():
    image = np.full((64, 64, 3), 200, np.uint8)
    nothing = AssignedObject(0, (16.0, 16.0, 48.0, 48.0), 1, 0, ())
    drawn = draw_assignment(image, [nothing], [], ["cat"], "caption")
    red = (drawn[..., 2] > 200) & (drawn[..., 1] < 80)
    assert 200 < red.sum() < 6000, "a dashed box and words"
    dot = Dot(32.0, 32.0, 8, 0, 1.0, "kept")
    assert (draw_assignment(image, [nothing], [dot], ["cat"], "caption") != drawn).any()


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("width", [300, 960, 1920])
def test_the_legend_fits_the_picture_and_explains_changes_where_there_are_any(width: int, compared: bool):
    legend = draw_legend(width, 2.0, compared=compared)
    assert legend.shape[1] == width
    # Nothing is cut off at the right.
    assert (legend[:, -4:] == legend[0, 0]).all()
    drawn = (legend != legend[0, 0]).any(axis=2).sum()
    assert (drawn > (draw_legend(width, 2.0, compared=False) != legend[0, 0]).any(axis=2).sum()) == compared
