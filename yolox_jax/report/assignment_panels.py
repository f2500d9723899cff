"""Lays out pictures of label assignment: networks side by side, or one network under several rules on a sheet."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config.assignment import AssignmentRule
from yolox_jax.data.training_images import TrainingImage
from yolox_jax.report.assigned_anchors import RULES_WITH_COSTS, ImageAssignment
from yolox_jax.report.assignment_figures import summary_of
from yolox_jax.report.assignment_legend import GREY, LegendContent, draw_legend
from yolox_jax.report.assignment_pictures import SIDE_PX, captioned, dots_of, draw_assignment
from yolox_jax.text import counted

RULE_TITLES: dict[AssignmentRule, str] = {
    "yolov3": "YOLOv3",
    "centre": "centre",
    "multi_positives": "multi positives",
    "simota": "SimOTA",
    "ota": "OTA",
}

SHEET_ENLARGEMENT = 1.5
"""Of the image in a panel of a sheet, where its size permits: keeps dots of neighbouring cells of stride 8 apart."""

LEAST_PANEL_PX = 640
"""Longer side of a panel of a sheet, so that its caption is legible."""

SHEET_ASPECT = 1.0
"""Width by height of a sheet that is aimed for."""


class Panel(NamedTuple):
    """The assignment of an image, by a rule."""

    caption: str
    rule: AssignmentRule
    assignment: ImageAssignment


def draw_weights(one: TrainingImage, panels: Sequence[Panel], class_names: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Draw one panel for each set of weights, side by side above a legend; the second is compared with the first."""
    drawn = _draw_panels(one, panels, class_names, SIDE_PX, compared=len(panels) > 1)
    picture = np.concatenate(drawn, axis=1)
    return np.concatenate([picture, _legend(one, panels, picture.shape[1], SIDE_PX, compared=len(panels) > 1)])


def draw_rules(one: TrainingImage, panels: Sequence[Panel], class_names: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the image and one panel for each rule, in rows above a legend."""
    side_px = min(SIDE_PX, max(LEAST_PANEL_PX, round(SHEET_ENLARGEMENT * max(one.content_size))))
    drawn = [_draw_image(one, side_px), *_draw_panels(one, panels, class_names, side_px, compared=False)]
    height, width = drawn[0].shape[:2]
    columns = _num_columns(len(drawn), width / height)
    sheet = np.full((-(-len(drawn) // columns) * height, columns * width, 3), GREY, np.uint8)
    for index, panel in enumerate(drawn):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = panel
    return np.concatenate([sheet, _legend(one, panels, columns * width, side_px, compared=False)])


def _draw_image(one: TrainingImage, side_px: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image alone, because dots cover small objects."""
    image = _content(one)
    scale = side_px / max(image.shape[:2])
    enlarged = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return captioned(enlarged, f"{one.name}: {counted(len(one.boxes), 'object')}")


def _content(one: TrainingImage) -> UInt8[np.ndarray, "h w 3"]:
    return one.picture[: one.content_size[0], : one.content_size[1]]


def caption_of_rule(rule: AssignmentRule, image: ImageAssignment, *, borrowed_boxes: bool) -> str:
    """Name a rule, with the number of anchors of an object and their mean IoU.

    Args:
        rule: the rule.
        image: its assignment.
        borrowed_boxes: whether the anchor boxes are those of COCO because the network has none.
    """
    summary = summary_of([image], has_costs=False)
    title = f"{RULE_TITLES[rule]} (anchor boxes of COCO)" if borrowed_boxes else RULE_TITLES[rule]
    if not image.objects:
        return f"{title}: no objects"
    iou = "" if math.isnan(summary["mean_iou"]) else f", mean IoU {summary['mean_iou']:.2f}"
    return f"{title}: {summary['anchors_per_object']:.1f} anchors an object{iou}"


def _draw_panels(
    one: TrainingImage, panels: Sequence[Panel], class_names: Sequence[str], side_px: int, *, compared: bool
) -> list[UInt8[np.ndarray, "h w 3"]]:
    drawn = []
    for number, panel in enumerate(panels):
        dots = dots_of(
            panel.assignment.objects,
            panels[0].assignment.objects if compared and number else None,
            by_iou=_by_iou(panels),
            boxes_per_cell=panel.assignment.boxes_per_cell,
        )
        drawn.append(
            draw_assignment(_content(one), panel.assignment.objects, dots, class_names, panel.caption, side_px)
        )
    return drawn


def _legend(
    one: TrainingImage, panels: Sequence[Panel], width: int, side_px: int, *, compared: bool
) -> UInt8[np.ndarray, "h w 3"]:
    images = [panel.assignment for panel in panels]
    content = LegendContent.of(images, compared=compared, by_iou=_by_iou(panels))
    return draw_legend(width, side_px / max(one.content_size), content)


def _by_iou(panels: Sequence[Panel]) -> bool:
    """Costs order the anchors only where all rules have costs."""
    return any(panel.rule not in RULES_WITH_COSTS for panel in panels)


def _num_columns(count: int, panel_aspect: float) -> int:
    """The number of columns that brings the sheet nearest to `SHEET_ASPECT`."""
    return min(
        range(1, count + 1),
        key=lambda columns: abs(math.log(columns * panel_aspect / -(-count // columns) / SHEET_ASPECT)),
    )
