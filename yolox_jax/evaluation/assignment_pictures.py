"""Draws label assignment: dots where the anchors are, in the colour of the object that gets them."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.draw import FONT, class_colour, draw_boxes
from yolox_jax.evaluation.assigned_anchors import AssignedObject

SIDE_PX = 960
"""Longer side of a panel: dots of neighbouring cells of the finest level stay apart."""

MAGNIFICATION = 0.55
"""Of letters and lines: small, because it is the dots that matter."""

DIMMED = 0.6
"""What is left of the brightness of the image, so that dots stand out."""

DARKEST = 0.45
"""Brightness of the costliest anchor of an object, of the cheapest's."""

RED, WHITE, BLACK = (40, 40, 235), (255, 255, 255), (0, 0, 0)
CAPTION_PX = 40
DASH_PX = 8


class Dot(NamedTuple):
    """A mark for an anchor, in px of the network input."""

    x: float
    y: float
    stride: int
    object_index: int
    brightness: float
    """1 for the cheapest anchor of an object."""
    change: str
    """`kept`, or against an assignment it is compared with, `gained` or `lost`."""


def dots_of(objects: Sequence[AssignedObject], before: Sequence[AssignedObject] | None = None) -> list[Dot]:
    """The marks of an image.

    Args:
        objects: what each object gets.
        before: what the same objects got by other weights, to compare with.
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
    """Draw the objects of an image and the anchors they get.

    The size of a dot tells its level, its shade how cheap it is for the object. A ring is white where the anchor was
    gained, a cross stands where one was lost. An object that gets no anchor has a dashed red box.

    Args:
        image: BGR, as the network gets it.
        objects: what each object gets.
        dots: from `dots_of`.
        class_names: all of them.
        caption: what to write above.
    """
    scale = SIDE_PX / max(image.shape[:2])
    canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    canvas = (canvas * DIMMED).astype(np.uint8)
    served = [number for number, thing in enumerate(objects) if thing.anchors]
    colours = [class_colour(number) for number in range(len(objects))]
    labels = [f"{class_names[thing.class_index]} {len(thing.anchors)}" for thing in objects]
    boxes = np.array([thing.box for thing in objects], np.float64).reshape(-1, 4) * scale
    own = [labels[n] for n in served], [colours[n] for n in served]
    canvas = draw_boxes(canvas, boxes[served], *own, magnification=MAGNIFICATION)
    for number, thing in enumerate(objects):
        if not thing.anchors:
            _dashed(canvas, boxes[number])
            limit = canvas.shape[1] - 12, canvas.shape[0] - 12
            corner = tuple(np.clip(boxes[number, [0, 3]], 12, limit).astype(int).tolist())
            text = f"{class_names[thing.class_index]}: none"
            cv2.putText(canvas, text, corner, FONT, 0.6, BLACK, 4, cv2.LINE_AA)
            cv2.putText(canvas, text, corner, FONT, 0.6, RED, 2, cv2.LINE_AA)
    for dot in sorted(dots, key=lambda dot: -dot.stride):  # the small ones on top
        _draw_dot(canvas, dot, colours[dot.object_index], scale)
    return np.concatenate([_caption(caption, canvas.shape[1]), canvas])


def _draw_dot(canvas: UInt8[np.ndarray, "h w 3"], dot: Dot, colour: tuple[int, int, int], scale: float) -> None:
    centre = round(dot.x * scale), round(dot.y * scale)
    # A fifth of the cell, so that neighbours stay apart; not so large, nor so small, that nothing else can be seen.
    radius = round(max(3.0, min(0.2 * dot.stride * scale, 6 + dot.stride / 2)))
    if dot.change == "lost":
        cv2.drawMarker(canvas, centre, WHITE, cv2.MARKER_TILTED_CROSS, 2 * radius + 2, 3)
        cv2.drawMarker(canvas, centre, colour, cv2.MARKER_TILTED_CROSS, 2 * radius, 2)
        return
    blue, green, red = (round(part * dot.brightness) for part in colour)
    cv2.circle(canvas, centre, radius, (blue, green, red), cv2.FILLED, cv2.LINE_AA)
    ring = WHITE if dot.change == "gained" else BLACK
    cv2.circle(canvas, centre, radius + 1, ring, 2 if dot.change == "gained" else 1, cv2.LINE_AA)


def _dashed(canvas: UInt8[np.ndarray, "h w 3"], box: np.ndarray) -> None:
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = np.clip(box, 0, [width - 1, height - 1] * 2).round().astype(int).tolist()
    for x in range(x1, x2, 2 * DASH_PX):
        for y in (y1, y2):
            cv2.line(canvas, (x, y), (min(x + DASH_PX, x2), y), RED, 2)
    for y in range(y1, y2, 2 * DASH_PX):
        for x in (x1, x2):
            cv2.line(canvas, (x, y), (x, min(y + DASH_PX, y2)), RED, 2)


def _caption(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    strip = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    (full_width, _), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    cv2.putText(strip, text, (8, 27), FONT, min(0.6, (width - 16) / full_width), BLACK, 1, cv2.LINE_AA)
    return strip
