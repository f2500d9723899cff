"""The legend of pictures of label assignment."""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import STRIDES
from yolox_jax.inference.draw import FONT
from yolox_jax.report.assigned_anchors import ImageAssignment
from yolox_jax.report.assignment_pictures import (
    DARKEST,
    TEXT_SCALE,
    WHITE,
    Dot,
    dot_radius,
    draw_dashes,
    draw_dot,
    draw_dotted_rectangle,
)

LEGEND_COLOUR = (200, 230, 120)
GREY = (48, 48, 48)
LEGEND_ROW_PX = 50
LEGEND_GAP_PX = 12
BOX_PX = 30
"""Width of the sample of a box, with the space behind it."""


@dataclasses.dataclass(frozen=True)
class LegendContent:
    """Which marks to explain besides the dots of the levels."""

    compared: bool = False
    """The changes from one set of weights to another."""
    by_iou: bool = False
    """The brightness of a dot tells of the IoU rather than of the cost."""
    anchor_boxes: bool = False
    selected: bool = False
    """The anchors that the objects of an end-to-end network select."""
    strides: tuple[int, ...] = STRIDES
    """Those of the levels."""

    @classmethod
    def of(cls, images: Iterable[ImageAssignment], *, compared: bool, by_iou: bool) -> "LegendContent":
        """What the pictures of the given assignments show."""
        images = list(images)
        anchors = [anchor for image in images for thing in image.objects for anchor in thing.anchors]
        return cls(
            compared,
            by_iou,
            any(anchor.anchor_box is not None for anchor in anchors),
            any(anchor.selected is not None for anchor in anchors),
            tuple(sorted({stride for image in images for stride in image.strides})),
        )


def draw_legend(width: int, scale: float, content: LegendContent) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a legend of the marks, in as many rows as it takes.

    Args:
        width: width of the legend in px.
        scale: number of px of the picture to one of the network input.
        content: the marks to explain.
    """
    rows, x, middle = [np.full((LEGEND_ROW_PX, width, 3), GREY, np.uint8)], LEGEND_GAP_PX, LEGEND_ROW_PX // 2
    for marks, text in _entries(content):
        text_width = cv2.getTextSize(text, FONT, TEXT_SCALE, 1)[0][0]
        steps = [BOX_PX] if isinstance(marks, str) else [_width(mark, scale) for mark in marks]
        if x + sum(steps) + text_width + 2 * LEGEND_GAP_PX > width and x > LEGEND_GAP_PX:
            rows.append(np.full_like(rows[0], GREY))
            x = LEGEND_GAP_PX
        if isinstance(marks, str):
            box = np.array([x, middle - 11, x + BOX_PX - 6, middle + 11], np.float64)
            if marks == "no anchors":
                draw_dashes(rows[-1], box)
            else:
                draw_dotted_rectangle(rows[-1], box, LEGEND_COLOUR)
        else:
            for mark, left in zip(marks, np.cumsum([x, *steps]).tolist(), strict=False):
                moved = mark._replace(x=(left + steps[0] / 2) / scale, y=middle / scale)
                draw_dot(rows[-1], moved, LEGEND_COLOUR, scale)
        origin = x + sum(steps) + LEGEND_GAP_PX // 2, middle + 6
        cv2.putText(rows[-1], text, origin, FONT, TEXT_SCALE, WHITE, 1, cv2.LINE_AA)
        x = origin[0] + text_width + 2 * LEGEND_GAP_PX
    return np.concatenate(rows)


def _width(mark: Dot, scale: float) -> int:
    return 2 * dot_radius(mark.stride, scale) + (16 if mark.selected else 6)


def _entries(content: LegendContent) -> list[tuple[list[Dot] | str, str]]:
    """Marks and their meaning; in place of marks, which box to draw."""

    def mark(stride: int, brightness: float = 1.0, change: str = "kept", selected: bool = False) -> Dot:
        return Dot(0.0, 0.0, stride, 0, brightness, change, selected)

    shades = [mark(STRIDES[0], 1 - (1 - DARKEST) * step / 3) for step in range(4)]
    entries: list[tuple[list[Dot] | str, str]] = [([mark(stride)], f"stride {stride}") for stride in content.strides]
    entries += [(shades, "high to low IoU" if content.by_iou else "low to high cost"), ("no anchors", "no anchors")]
    if content.anchor_boxes:
        entries.append(("anchor box", "anchor box"))
    if content.selected:
        entries.append(([mark(STRIDES[1], selected=True)], "selected"))
    if content.compared:
        entries.append(([mark(STRIDES[1], change="gained")], "gained"))
        entries.append(([mark(STRIDES[1], change="lost")], "lost"))
    return entries
