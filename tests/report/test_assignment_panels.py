"""Sheets of label assignment under several rules."""

from typing import get_args

import numpy as np
import pytest

from yolox_jax.config.assignment import AssignmentRule
from yolox_jax.data.training_images import TrainingImage
from yolox_jax.report import assignment_panels
from yolox_jax.report.assigned_anchors import AssignedAnchor, AssignedObject, ImageAssignment
from yolox_jax.report.assignment_panels import Panel, caption_of_rule, draw_rules

RULES: tuple[AssignmentRule, ...] = get_args(AssignmentRule)


def image(height: int = 64, width: int = 96, num_objects: int = 1) -> TrainingImage:
    boxes = np.tile(np.array([[8, 8, 40, 40]], np.float32), (num_objects, 1))
    pixels = np.full((96, 96, 3), 200, np.uint8)
    return TrainingImage("street", pixels, boxes, np.zeros(num_objects, np.int32), (height, width))


def assignment(num_anchors: int) -> ImageAssignment:
    anchors = tuple(AssignedAnchor(n, 8, 0, n, 8.0 * n + 4, 4.0, 0.25 + n / 8, None) for n in range(num_anchors))
    return ImageAssignment([AssignedObject(0, (8, 8, 40, 40), None, None, anchors)])


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 32), (32, 96)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_sheet_has_a_panel_for_each_rule(
    monkeypatch: pytest.MonkeyPatch, count: int, height: int, width: int
) -> None:
    # Panels of one colour each, the image apart, that can be found again.
    def draw_flat(pixels: np.ndarray, objects: object, dots: object, names: object, caption: str, side: int):
        scale = side / max(pixels.shape[:2])
        shape = (round(pixels.shape[0] * scale) + 40, round(pixels.shape[1] * scale), 3)
        return np.full(shape, 100 + int(caption), np.uint8)

    monkeypatch.setattr(assignment_panels, "draw_assignment", draw_flat)
    panels = [Panel(str(number), rule, assignment(1)) for number, rule in enumerate(RULES[:count])]
    sheet = draw_rules(image(height, width), panels, ["cat"])
    areas = [int((sheet == 100 + number).all(axis=2).sum()) for number in range(count)]
    panel_area = round(640 * height / max(height, width) + 40) * round(640 * width / max(height, width))
    assert all(abs(area - panel_area) < 200 for area in areas)
    assert (count + 1) * panel_area <= sheet.shape[0] * sheet.shape[1]


def test_an_image_without_objects_is_drawn() -> None:
    nothing = ImageAssignment([])
    caption = caption_of_rule("ota", nothing, borrowed_boxes=False)
    assert caption == "OTA: no objects"
    sheet = draw_rules(image(num_objects=0), [Panel(caption, "ota", nothing)], ["cat"])
    assert sheet.ndim == 3


def test_captions_name_the_rule_and_its_figures() -> None:
    assert caption_of_rule("centre", assignment(1), borrowed_boxes=False) == (
        "centre: 1.0 anchors an object, mean IoU 0.25"
    )
    assert caption_of_rule("yolov3", assignment(2), borrowed_boxes=True) == (
        "YOLOv3 (anchor boxes of COCO): 2.0 anchors an object, mean IoU 0.31"
    )
    assert caption_of_rule("simota", assignment(0), borrowed_boxes=False) == "SimOTA: 0.0 anchors an object"
