import itertools

import numpy as np
import pytest

from yolox_jax.inference.draw import class_colour, draw_boxes, draw_detections

NAMES = ("person", "traffic light", "dog")


def _changed(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return (image != drawn).any(axis=2)


def _draw(image: np.ndarray, boxes: list[list[float]], scores: list[float] | None, classes: list[int]) -> np.ndarray:
    return draw_detections(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        None if scores is None else np.array(scores, np.float32),
        np.array(classes, np.int32),
        all_class_names=NAMES,
    )


def test_the_image_itself_is_not_changed():
    image = np.full((240, 320, 3), 90, np.uint8)
    drawn = _draw(image, [[50, 60, 200, 220]], [0.9], [0])
    assert (image == 90).all()
    assert _changed(image, drawn).any()


def test_without_detections_nothing_is_drawn():
    image = np.full((240, 320, 3), 90, np.uint8)
    np.testing.assert_array_equal(_draw(image, [], [], []), image)


def test_borders_lie_on_the_box_in_the_colour_of_its_class():
    image = np.full((240, 320, 3), 90, np.uint8)
    drawn = _draw(image, [[50, 60, 200, 220]], [0.9], [2])
    for x, y in ((50, 140), (200, 140), (190, 60), (125, 220)):
        assert tuple(drawn[y, x]) == class_colour(2)
    assert not _changed(image, drawn)[100:200, 60:190].any()


@pytest.mark.parametrize("corner", [[0, 0, 20, 20], [300, 0, 320, 20], [0, 230, 20, 240], [310, 235, 320, 240]])
def test_labels_are_pushed_back_into_the_image(corner: list[float]):
    image = np.full((240, 320, 3), 90, np.uint8)
    whole = _changed(image, _draw(image, [[100, 100, 200, 200]], [0.5], [1]))[:100].sum()
    drawn = _changed(image, _draw(image, [corner], [0.5], [1]))
    assert drawn.sum() >= 0.95 * whole


def test_boxes_far_beyond_the_image_are_drawn_at_its_border():
    image = np.full((240, 320, 3), 90, np.uint8)
    drawn = _draw(image, [[-1e9, -50, 1e9, 500]], [0.5], [0])
    assert tuple(drawn[120, 0]) == tuple(drawn[120, 319]) == class_colour(0)


def test_labels_of_nested_boxes_do_not_hide_each_other():
    image = np.full((480, 640, 3), 90, np.uint8)
    drawn = _draw(image, [[200, 200, 400, 400], [202, 201, 401, 399]], [0.9, 0.8], [0, 1])
    above, inside = drawn[180:198, 200:280], drawn[205:225, 206:280]
    assert (above == class_colour(0)).all(axis=2).mean() > 0.4
    assert (inside == class_colour(1)).all(axis=2).mean() > 0.4


def test_labels_leave_in_view_what_they_are_to_avoid():
    image = np.full((480, 640, 3), 90, np.uint8)
    around = np.array([[190, 150, 300, 197], [205, 205, 255, 255], [190, 263, 300, 310]], np.float32)
    box = np.array([[200, 200, 260, 260]], np.float32)
    for avoid, expected in ((None, True), (around, False)):
        drawn = _changed(image, draw_boxes(image, box, ["dog 0.90"], [(0, 0, 255)], avoid=avoid))
        assert any(drawn[y1:y2, x1:x2].any() for x1, y1, x2, y2 in around.astype(int).tolist()) == expected
        assert drawn.sum() > 1000


def test_lines_and_labels_grow_with_the_image():
    small, large = np.zeros((480, 640, 3), np.uint8), np.zeros((2400, 3200, 3), np.uint8)
    share_small = _changed(small, _draw(small, [[100, 120, 400, 440]], [0.9], [0])).mean()
    share_large = _changed(large, _draw(large, [[500, 600, 2000, 2200]], [0.9], [0])).mean()
    assert share_large == pytest.approx(share_small, rel=0.3)


def test_annotated_objects_have_no_score():
    image = np.full((240, 320, 3), 90, np.uint8)
    with_score = _changed(image, _draw(image, [[50, 60, 200, 220]], [0.9], [0])).sum()
    assert _changed(image, _draw(image, [[50, 60, 200, 220]], None, [0])).sum() < with_score


def test_an_image_smaller_than_a_label_is_drawn_on():
    image = np.full((8, 8, 3), 90, np.uint8)
    assert _draw(image, [[1, 1, 6, 6]], [0.9], [1]).shape == (8, 8, 3)


def test_names_per_box_in_place_of_names_per_class_are_refused():
    image, box = np.zeros((40, 60, 3), np.uint8), np.array([[1, 1, 20, 20]], np.float32)
    arguments = image, box, np.ones(1, np.float32), np.array([7], np.int32)
    with pytest.raises(TypeError):
        draw_detections(*arguments, ["dog"])
    with pytest.raises(ValueError, match=r"classes from 7 to 7, but all_class_names has 1.*Detector\.class_names"):
        draw_detections(*arguments, all_class_names=["dog"])


def test_colours_of_the_first_twenty_classes_differ():
    colours = np.array([class_colour(index) for index in range(20)], float)
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)]
    assert min(distances) > 40
