"""Draws label assignment: a dot for each anchor, in the colour of its object."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from yolox_jax.inference.draw import FONT, class_colour, draw_boxes
from yolox_jax.report.assigned_anchors import AssignedAnchor, AssignedObject

SIDE_PX = 960
"""Longer side of a panel: large enough to keep dots of neighbouring cells of the finest level apart."""

MAGNIFICATION = 0.55
"""Scale of text and lines: small, because the dots matter most."""

DIMMED = 0.6
"""Brightness of the image relative to the original, so that dots stand out."""

DARKEST = 0.35
"""Brightness of the last anchor of an object, relative to the first."""

LEAST_LUMINANCE = 110
"""Lowest luminance, of 255, of an object's colour: darker shades would be invisible on a dimmed image."""

RED, WHITE, BLACK = (40, 40, 235), (255, 255, 255), (0, 0, 0)
CAPTION_PX = 40
RED_DASH_PX, WHITE_DASH_PX = 9, 4
DOTTED_PX, DOTTED_PERIOD_PX = 3, 8
SELECTED_MARGIN_PX = 5
TEXT_SCALE = 0.6


class Dot(NamedTuple):
    """A mark for an anchor, in pixels of the network input."""

    x: float
    y: float
    stride: int
    object_index: int
    brightness: float
    """1 for the object's anchor with the lowest cost."""
    change: str
    """`kept`; compared with another assignment, also `gained` or `lost`."""
    selected: bool = False
    """Whether it is the one that the object selects in an end-to-end network."""


def dots_of(
    objects: Sequence[AssignedObject],
    before: Sequence[AssignedObject] | None = None,
    *,
    by_iou: bool = False,
    boxes_per_cell: int = 1,
) -> list[Dot]:
    """The marks of an image.

    Args:
        objects: the assignment to draw.
        before: the assignment of the same objects under other weights, to compare with.
        by_iou: the brightest dot of an object is that of the highest IoU, rather than of the first anchor.
        boxes_per_cell: number of anchor boxes in a cell. Where several of a cell are drawn, their dots lie next to each
            other, the smallest box on the left.
    """
    drawn = {anchor.place: anchor for thing in [*objects, *(before or [])] for anchor in thing.anchors}
    num_in_cell = collections.Counter((anchor.stride, anchor.row, anchor.column) for anchor in drawn.values())

    def dot(anchor: AssignedAnchor, number: int, brightness: float, change: str) -> Dot:
        x = anchor.x
        if anchor.box_of_cell is not None and num_in_cell[anchor.stride, anchor.row, anchor.column] > 1:
            x += ((anchor.box_of_cell + 0.5) / boxes_per_cell - 0.5) * anchor.stride
        return Dot(x, anchor.y, anchor.stride, number, brightness, change, bool(anchor.selected) and change != "lost")

    dots = []
    for number, thing in enumerate(objects):
        old = None if before is None else {anchor.place: anchor for anchor in before[number].anchors}
        anchors = sorted(thing.anchors, key=lambda anchor: -anchor.iou) if by_iou else thing.anchors
        for rank, anchor in enumerate(anchors):
            brightness = 1 - (1 - DARKEST) * rank / max(len(anchors) - 1, 1)
            dots.append(dot(anchor, number, brightness, "kept" if old is None or anchor.place in old else "gained"))
        now = {anchor.place for anchor in anchors}
        lost = [] if old is None else [anchor for place, anchor in old.items() if place not in now]
        dots += [dot(anchor, number, 1.0, "lost") for anchor in lost]
    return dots


def draw_assignment(
    image: UInt8[np.ndarray, "H W 3"],
    objects: Sequence[AssignedObject],
    dots: Sequence[Dot],
    class_names: Sequence[str],
    caption: str,
    side_px: int = SIDE_PX,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the objects of an image and their anchors.

    The size of a dot shows its level, its brightness how low its cost or how high its IoU is, and a line connects it to
    the centre of the object. A dotted rectangle about its cell is its anchor box. A white ring marks an anchor that was
    gained, a cross one that was lost, a square the one that the object selects. An object without anchors has a dashed
    box in red and white.

    Args:
        image: BGR, as the network receives it.
        objects: the assignment of the image.
        dots: from `dots_of`.
        class_names: names of all classes.
        caption: text above the image.
        side_px: longer side of the picture without the caption.
    """
    scale = side_px / max(image.shape[:2])
    canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    canvas = (canvas * DIMMED).astype(np.uint8)
    boxes = np.array([thing.box for thing in objects], np.float64).reshape(-1, 4) * scale
    colours = [_object_colour(number) if thing.anchors else RED for number, thing in enumerate(objects)]
    labels = [f"{class_names[thing.class_index]} {len(thing.anchors) or 'none'}" for thing in objects]
    for dot in dots:
        _draw_link(canvas, dot, boxes[dot.object_index], _object_colour(dot.object_index), scale)
    _draw_anchor_boxes(canvas, objects, scale)
    # Objects without anchors first: their labels get the best positions.
    order = sorted(range(len(objects)), key=lambda number: bool(objects[number].anchors))
    ordered = [labels[number] for number in order], [colours[number] for number in order]
    magnification = MAGNIFICATION * SIDE_PX / side_px  # labels of the same size in smaller panels
    canvas = draw_boxes(canvas, boxes[order], *ordered, magnification=magnification, avoid=_dot_boxes(dots, scale))
    for number, thing in enumerate(objects):
        if not thing.anchors:
            draw_dashes(canvas, boxes[number])
    for dot in sorted(dots, key=lambda dot: -dot.stride):  # the small ones on top
        draw_dot(canvas, dot, _object_colour(dot.object_index), scale)
    return captioned(canvas, caption)


def _object_colour(number: int) -> tuple[int, int, int]:
    """BGR."""
    blue, green, red = class_colour(number)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    white = max(0.0, (LEAST_LUMINANCE - luminance) / (255 - luminance))
    blue, green, red = (round(part + white * (255 - part)) for part in (blue, green, red))
    return blue, green, red


def dot_radius(stride: int, scale: float) -> int:
    """A fifth of the cell, so that neighbours stay apart, within limits that keep dots visible and uncovered."""
    return round(max(3.0, min(0.2 * stride * scale, 6 + stride / 2)))


def _dot_boxes(dots: Sequence[Dot], scale: float) -> Float[np.ndarray, "M 4"]:
    """Bounding boxes as x1, y1, x2, y2, in pixels of the picture."""
    centres = np.array([(dot.x, dot.y) for dot in dots], np.float64).reshape(-1, 2) * scale
    radii = np.array([dot_radius(dot.stride, scale) + 1 for dot in dots], np.float64)[:, None]
    return np.concatenate([centres - radii, centres + radii], axis=1)


def _draw_link(
    canvas: UInt8[np.ndarray, "h w 3"],
    dot: Dot,
    box: Float[np.ndarray, "4"],
    colour: tuple[int, int, int],
    scale: float,
) -> None:
    x, y = round(float(box[0] + box[2]) / 2), round(float(box[1] + box[3]) / 2)
    cv2.line(canvas, (round(dot.x * scale), round(dot.y * scale)), (x, y), colour, 1, cv2.LINE_AA)


def _draw_anchor_boxes(canvas: UInt8[np.ndarray, "h w 3"], objects: Sequence[AssignedObject], scale: float) -> None:
    for number, thing in enumerate(objects):
        for anchor in thing.anchors:
            if anchor.anchor_box is not None:
                width, height = anchor.anchor_box
                left, top = anchor.x - width / 2, anchor.y - height / 2
                corners = np.array([left, top, left + width, top + height]) * scale
                draw_dotted_rectangle(canvas, corners, _object_colour(number))


def draw_dot(canvas: UInt8[np.ndarray, "h w 3"], dot: Dot, colour: tuple[int, int, int], scale: float) -> None:
    """Draw a mark; `scale` is the number of px of the canvas to one of the network input."""
    centre = round(dot.x * scale), round(dot.y * scale)
    radius = dot_radius(dot.stride, scale)
    if dot.change == "lost":
        cv2.drawMarker(canvas, centre, WHITE, cv2.MARKER_TILTED_CROSS, 2 * radius + 2, 3)
        cv2.drawMarker(canvas, centre, colour, cv2.MARKER_TILTED_CROSS, 2 * radius, 2)
        return
    shade = tuple(round(part * dot.brightness) for part in colour)
    cv2.circle(canvas, centre, radius + 1, BLACK, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(canvas, centre, radius, shade, cv2.FILLED, cv2.LINE_AA)
    # The rim shows the object whatever the shade.
    cv2.circle(canvas, centre, radius, colour, 1, cv2.LINE_AA)
    if dot.change == "gained":
        cv2.circle(canvas, centre, radius + 2, WHITE, 2, cv2.LINE_AA)
    if dot.selected:
        (x, y), half = centre, radius + SELECTED_MARGIN_PX
        cv2.rectangle(canvas, (x - half, y - half), (x + half, y + half), BLACK, 4)
        cv2.rectangle(canvas, (x - half, y - half), (x + half, y + half), WHITE, 2)


def draw_dashes(canvas: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> None:
    """Draw the box, in pixels of the canvas, of an object without anchors."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = np.clip(box, 0, [width - 1, height - 1] * 2).round().astype(int).tolist()
    cv2.rectangle(canvas, (x1, y1), (x2, y2), RED, 2)
    period = RED_DASH_PX + WHITE_DASH_PX
    for x in range(x1 + RED_DASH_PX, x2 - WHITE_DASH_PX, period):
        for y in (y1, y2):
            cv2.line(canvas, (x, y), (x + WHITE_DASH_PX, y), WHITE, 2)
    for y in range(y1 + RED_DASH_PX, y2 - WHITE_DASH_PX, period):
        for x in (x1, x2):
            cv2.line(canvas, (x, y), (x, y + WHITE_DASH_PX), WHITE, 2)


def draw_dotted_rectangle(
    canvas: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"], colour: tuple[int, int, int]
) -> None:
    """Draw an anchor box, in pixels of the canvas; what lies outside is left out."""
    x1, y1, x2, y2 = box.round().astype(int).tolist()
    for x in range(x1, x2 + 1, DOTTED_PERIOD_PX):
        for y in (y1, y2):
            cv2.line(canvas, (x, y), (min(x + DOTTED_PX, x2), y), colour, 1)
    for y in range(y1, y2 + 1, DOTTED_PERIOD_PX):
        for x in (x1, x2):
            cv2.line(canvas, (x, y), (x, min(y + DOTTED_PX, y2)), colour, 1)


def captioned(picture: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "H w 3"]:
    """Put a line of text above a picture, in smaller letters if it is long."""
    return np.concatenate([_caption(text, picture.shape[1]), picture])


def _caption(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    strip = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    (full_width, _), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    scale = min(TEXT_SCALE, (width - 16) / full_width)
    cv2.putText(strip, text, (8, 27), FONT, scale, BLACK, 1, cv2.LINE_AA)
    return strip
