"""Draws label assignment: a dot for each anchor, in the colour of its object."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from yolox_jax.anchors import STRIDES
from yolox_jax.inference.draw import FONT, class_colour, draw_boxes
from yolox_jax.report.assigned_anchors import AssignedObject

SIDE_PX = 960
"""Longer side of a panel: large enough to keep dots of neighbouring cells of the finest level apart."""

MAGNIFICATION = 0.55
"""Scale of text and lines: small, because the dots matter most."""

DIMMED = 0.6
"""Brightness of the image relative to the original, so that dots stand out."""

DARKEST = 0.35
"""Brightness of the anchor with the highest cost, relative to the one with the lowest."""

LEAST_LUMINANCE = 110
"""Lowest luminance, of 255, of an object's colour: darker shades would be invisible on a dimmed image."""

LEGEND_COLOUR = (200, 230, 120)
RED, WHITE, BLACK, GREY = (40, 40, 235), (255, 255, 255), (0, 0, 0), (48, 48, 48)
CAPTION_PX = 40
RED_DASH_PX, WHITE_DASH_PX = 9, 4
LEGEND_ROW_PX = 50
LEGEND_GAP_PX = 12
NO_ANCHOR_PX = 30
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


def dots_of(objects: Sequence[AssignedObject], before: Sequence[AssignedObject] | None = None) -> list[Dot]:
    """The marks of an image.

    Args:
        objects: the assignment to draw.
        before: the assignment of the same objects under other weights, to compare with.
    """
    dots = []
    for number, thing in enumerate(objects):
        old = None if before is None else {anchor.place: anchor for anchor in before[number].anchors}
        for rank, anchor in enumerate(thing.anchors):
            brightness = 1 - (1 - DARKEST) * rank / max(len(thing.anchors) - 1, 1)
            change = "kept" if old is None or anchor.place in old else "gained"
            dots.append(Dot(anchor.x, anchor.y, anchor.stride, number, brightness, change))
        now = {anchor.place for anchor in thing.anchors}
        lost = [] if old is None else [anchor for place, anchor in old.items() if place not in now]
        dots += [Dot(anchor.x, anchor.y, anchor.stride, number, 1.0, "lost") for anchor in lost]
    return dots


def draw_assignment(
    image: UInt8[np.ndarray, "H W 3"],
    objects: Sequence[AssignedObject],
    dots: Sequence[Dot],
    class_names: Sequence[str],
    caption: str,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the objects of an image and their anchors.

    The size of a dot shows its level, its brightness how low its cost is, and a line connects it to the centre of the
    object. A white ring marks an anchor that was gained, a cross one that was lost. An object without anchors has a
    dashed box in red and white.

    Args:
        image: BGR, as the network receives it.
        objects: the assignment of the image.
        dots: from `dots_of`.
        class_names: names of all classes.
        caption: text above the image.
    """
    scale = scale_of(image)
    canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    canvas = (canvas * DIMMED).astype(np.uint8)
    boxes = np.array([thing.box for thing in objects], np.float64).reshape(-1, 4) * scale
    colours = [_object_colour(number) if thing.anchors else RED for number, thing in enumerate(objects)]
    labels = [f"{class_names[thing.class_index]} {len(thing.anchors) or 'none'}" for thing in objects]
    for dot in dots:
        _draw_link(canvas, dot, boxes[dot.object_index], _object_colour(dot.object_index), scale)
    # Objects without anchors first: their labels get the best positions.
    order = sorted(range(len(objects)), key=lambda number: bool(objects[number].anchors))
    ordered = [labels[number] for number in order], [colours[number] for number in order]
    canvas = draw_boxes(canvas, boxes[order], *ordered, magnification=MAGNIFICATION, avoid=_dot_boxes(dots, scale))
    for number, thing in enumerate(objects):
        if not thing.anchors:
            _draw_dashes(canvas, boxes[number])
    for dot in sorted(dots, key=lambda dot: -dot.stride):  # the small ones on top
        _draw_dot(canvas, dot, _object_colour(dot.object_index), scale)
    return np.concatenate([_caption(caption, canvas.shape[1]), canvas])


def scale_of(image: UInt8[np.ndarray, "H W 3"]) -> float:
    """The factor by which an image is enlarged."""
    return SIDE_PX / max(image.shape[:2])


def draw_legend(width: int, scale: float, *, compared: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a legend of the marks, in as many rows as it takes.

    Args:
        width: width of the legend in px.
        scale: scale of the picture, from `scale_of`.
        compared: also explain the marks for changes.
    """
    rows, x, middle = [np.full((LEGEND_ROW_PX, width, 3), GREY, np.uint8)], LEGEND_GAP_PX, LEGEND_ROW_PX // 2
    for marks, text in _legend_entries(compared):
        text_width = cv2.getTextSize(text, FONT, TEXT_SCALE, 1)[0][0]
        steps = [2 * _radius(mark.stride, scale) + 6 for mark in marks] or [NO_ANCHOR_PX]
        if x + sum(steps) + text_width + 2 * LEGEND_GAP_PX > width and x > LEGEND_GAP_PX:
            rows.append(np.full_like(rows[0], GREY))
            x = LEGEND_GAP_PX
        if not marks:
            _draw_dashes(rows[-1], np.array([x, middle - 11, x + NO_ANCHOR_PX - 6, middle + 11], np.float64))
        for mark, left in zip(marks, np.cumsum([x, *steps]).tolist(), strict=False):
            moved = mark._replace(x=(left + steps[0] / 2) / scale, y=middle / scale)
            _draw_dot(rows[-1], moved, LEGEND_COLOUR, scale)
        origin = x + sum(steps) + LEGEND_GAP_PX // 2, middle + 6
        cv2.putText(rows[-1], text, origin, FONT, TEXT_SCALE, WHITE, 1, cv2.LINE_AA)
        x = origin[0] + text_width + 2 * LEGEND_GAP_PX
    return np.concatenate(rows)


def _legend_entries(compared: bool) -> list[tuple[list[Dot], str]]:
    """Marks and their meaning; an entry without marks is for the dashed box."""

    def mark(stride: int, brightness: float = 1.0, change: str = "kept") -> Dot:
        return Dot(0.0, 0.0, stride, 0, brightness, change)

    shades = [mark(STRIDES[0], 1 - (1 - DARKEST) * step / 3) for step in range(4)]
    entries = [([mark(stride)], f"stride {stride}") for stride in STRIDES]
    entries += [(shades, "low to high cost"), ([], "no anchors")]
    if compared:
        entries += [([mark(STRIDES[1], change="gained")], "gained")]
        entries += [([mark(STRIDES[1], change="lost")], "lost")]
    return entries


def _object_colour(number: int) -> tuple[int, int, int]:
    """BGR."""
    blue, green, red = class_colour(number)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    white = max(0.0, (LEAST_LUMINANCE - luminance) / (255 - luminance))
    blue, green, red = (round(part + white * (255 - part)) for part in (blue, green, red))
    return blue, green, red


def _radius(stride: int, scale: float) -> int:
    """A fifth of the cell, so that neighbours stay apart, within limits that keep dots visible and uncovered."""
    return round(max(3.0, min(0.2 * stride * scale, 6 + stride / 2)))


def _dot_boxes(dots: Sequence[Dot], scale: float) -> Float[np.ndarray, "M 4"]:
    """Bounding boxes as x1, y1, x2, y2, in pixels of the picture."""
    centres = np.array([(dot.x, dot.y) for dot in dots], np.float64).reshape(-1, 2) * scale
    radii = np.array([_radius(dot.stride, scale) + 1 for dot in dots], np.float64)[:, None]
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


def _draw_dot(canvas: UInt8[np.ndarray, "h w 3"], dot: Dot, colour: tuple[int, int, int], scale: float) -> None:
    centre = round(dot.x * scale), round(dot.y * scale)
    radius = _radius(dot.stride, scale)
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


def _draw_dashes(canvas: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> None:
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


def _caption(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    strip = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    (full_width, _), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    scale = min(TEXT_SCALE, (width - 16) / full_width)
    cv2.putText(strip, text, (8, 27), FONT, scale, BLACK, 1, cv2.LINE_AA)
    return strip
