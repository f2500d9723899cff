"""Label assignment as marks in a picture."""

import numpy as np
import pytest

from yolox_jax.report.assigned_anchors import AssignedAnchor, AssignedObject
from yolox_jax.report.assignment_pictures import Dot, dots_of, draw_assignment


def thing(*anchors: AssignedAnchor) -> AssignedObject:
    return AssignedObject(0, (16.0, 16.0, 48.0, 48.0), None, None, anchors)


def anchor(place: int, iou: float = 0.5, cost: float | None = None, box: int | None = None) -> AssignedAnchor:
    return AssignedAnchor(place, 8, 0, place, 8.0 * place, 4.0, iou, cost, box, None if box is None else (24.0, 40.0))


def test_dots_tell_what_was_gained_and_lost():
    dots = dots_of([thing(anchor(1), anchor(2))], before=[thing(anchor(2), anchor(3))])
    assert {(dot.x, dot.change) for dot in dots} == {(8.0, "gained"), (16.0, "kept"), (24.0, "lost")}


def test_the_brightest_dot_is_that_of_the_highest_iou_where_costs_do_not_count():
    objects = [thing(anchor(1, iou=0.2, cost=1.0), anchor(2, iou=0.9, cost=2.0))]
    by_cost, by_iou = dots_of(objects), dots_of(objects, by_iou=True)
    assert [dot.x for dot in by_cost if dot.brightness == 1] == [8.0]
    assert [dot.x for dot in by_iou if dot.brightness == 1] == [16.0]


def test_dots_of_boxes_of_one_cell_lie_side_by_side_within_it():
    alone = anchor(3, box=2)
    # Two boxes of the cell in column 5, of different objects.
    small, large = (alone._replace(place=15 + box, column=5, x=44.0, box_of_cell=box) for box in (0, 2))
    dots = dots_of([thing(alone), thing(small), thing(large)], boxes_per_cell=3)
    assert [dot.x for dot in dots] == [24.0, pytest.approx(44 - 8 / 3), pytest.approx(44 + 8 / 3)]


def test_the_anchor_box_is_drawn_about_its_cell():
    image = np.full((64, 64, 3), 200, np.uint8)
    with_box = anchor(4, box=1)._replace(x=32.0, y=32.0)
    without = with_box._replace(anchor_box=None)
    drawn, plain = (
        draw_assignment(image, [thing(one)], dots_of([thing(one)]), ["cat"], "caption") for one in (with_box, without)
    )
    rows, columns = np.nonzero((drawn != plain).any(axis=2)[-960:])  # without the caption
    edges = np.array([rows.min(), rows.max(), columns.min(), columns.max()]) * 64 / 960
    np.testing.assert_allclose(edges, [12, 52, 20, 44], atol=0.2)


def test_a_selected_anchor_is_framed():
    image = np.full((64, 64, 3), 200, np.uint8)
    (dot,) = dots_of([thing(anchor(4)._replace(y=32.0, selected=True))])
    plain = draw_assignment(image, [thing()], [dot._replace(selected=False)], ["cat"], "caption")
    framed = draw_assignment(image, [thing()], [dot], ["cat"], "caption")
    assert dot.selected and (framed != plain).any()


def test_an_object_without_anchors_stands_out():
    image = np.full((64, 64, 3), 200, np.uint8)
    drawn = draw_assignment(image, [thing()], [], ["cat"], "caption")
    red = (drawn[..., 2] > 200) & (drawn[..., 1] < 80)
    assert 200 < red.sum() < 6000, "a dashed box and words"
    dot = Dot(32.0, 32.0, 8, 0, 1.0, "kept")
    assert (draw_assignment(image, [thing()], [dot], ["cat"], "caption") != drawn).any()
