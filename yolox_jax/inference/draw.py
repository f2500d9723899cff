"""Draws detections on images."""

import colorsys
import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT_PX = 22
"""Height of a capital letter of this font at scale 1."""
GOLDEN_RATIO = 0.618034


def class_colour(class_index: int) -> tuple[int, int, int]:
    """BGR colour of a class, the same in every image.

    Successive hues are a golden angle apart, which keeps any number of classes distinct. Classes with similar hues,
    whose indices differ by 5 or 8, differ in tone.
    """
    hue = (0.02 + class_index * GOLDEN_RATIO) % 1.0
    saturation, value = ((0.9, 1.0), (0.5, 1.0), (1.0, 0.7))[class_index % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw_detections(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "N 4"],
    scores: Float[np.ndarray, " N"] | None,
    classes: Int[np.ndarray, " N"],
    *,
    all_class_names: Sequence[str],
    track_ids: Int[np.ndarray, " N"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw boxes with class name and score on a copy of an image; line and font size scale with its resolution.

    Args:
        image: BGR.
        boxes: x1, y1, x2, y2 in pixels of the image; may reach beyond it.
        scores: between 0 and 1; None for annotated objects, which are labelled with the class name only.
        classes: class index of each box, which determines its colour.
        all_class_names: name of each class by its index, such as `Detector.class_names`.
        track_ids: number of each object in a video, which precedes the class name; -1 for none.

    Raises:
        ValueError: a class has no name. The names of `ImageDetections.class_names`, one for each box, do not fit here.
    """
    if len(classes) and not 0 <= classes.min() <= classes.max() < len(all_class_names):
        raise ValueError(
            f"the boxes have classes from {classes.min()} to {classes.max()}, but all_class_names has "
            f"{len(all_class_names)} names. Pass the names of all classes, such as Detector.class_names"
        )
    order = np.argsort(-scores, kind="stable").tolist() if scores is not None else list(range(len(boxes)))
    names = [all_class_names[int(label)] for label in classes]
    if track_ids is not None:
        names = [f"#{number} {name}" if number >= 0 else name for number, name in zip(track_ids, names, strict=True)]
    labels = [names[index] if scores is None else f"{names[index]} {scores[index]:.2f}" for index in order]
    return draw_boxes(image, boxes[order], labels, [class_colour(int(classes[index])) for index in order])


def draw_boxes(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "N 4"],
    labels: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    *,
    magnification: float = 1.0,
    avoid: Float[np.ndarray, "M 4"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw labelled boxes on a copy of an image; line and font size scale with its resolution.

    Args:
        image: BGR.
        boxes: x1, y1, x2, y2 in pixels of the image, the most important first. Boxes may extend beyond the image.
        labels: text for each box; an empty text draws no label.
        colours: BGR of each box.
        magnification: factor on line and font size, for an image that will be shown smaller.
        avoid: x1, y1, x2, y2 in px of regions that labels should not cover. Labels may then be beside their boxes.
    """
    canvas = image.copy()
    height, width = image.shape[:2]
    borders = np.array([width - 1, height - 1, width - 1, height - 1])
    corners = np.clip(boxes, 0, borders).round().astype(int)
    thickness = max(1, round(magnification * min(height, width) / 270))
    for (x1, y1, x2, y2), colour in zip(corners[::-1].tolist(), reversed(colours), strict=True):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
    placed: list[_Label] = []
    for text, colour, corner in zip(labels, colours, corners, strict=True):
        if text:
            placed.append(_place_label(text, colour, corner, (height, width), placed, magnification, avoid))
    for label in reversed(placed):
        label.draw(canvas)
    return canvas


@dataclasses.dataclass(frozen=True)
class _Label:
    """Text on a filled rectangle. All lengths but the font scale are in pixels of the image."""

    text: str
    colour: tuple[int, int, int]
    left: int
    top: int
    right: int
    bottom: int
    baseline: int
    """y of the baseline of the text."""
    margin: int
    scale: float
    stroke: int

    def overlaps(self, other: "_Label") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def num_covered(self, regions: Float[np.ndarray, "M 4"]) -> int:
        x1, y1, x2, y2 = regions.T
        return int(((self.left < x2) & (x1 < self.right) & (self.top < y2) & (y1 < self.bottom)).sum())

    def draw(self, canvas: UInt8[np.ndarray, "H W 3"]) -> None:
        cv2.rectangle(canvas, (self.left, self.top), (self.right - 1, self.bottom - 1), self.colour, cv2.FILLED)
        origin = (self.left + self.margin, self.baseline)
        cv2.putText(canvas, self.text, origin, FONT, self.scale, _text_colour(self.colour), self.stroke, cv2.LINE_AA)


def _place_label(
    text: str,
    colour: tuple[int, int, int],
    corners: Int[np.ndarray, "4"],
    image_size: tuple[int, int],
    placed: Sequence[_Label],
    magnification: float,
    avoid: Float[np.ndarray, "M 4"] | None,
) -> _Label:
    """Place a label above its box, or where it covers no other: inside at the top or bottom, below, left or right."""
    height, width = image_size
    text_height = magnification * max(7.0, min(height, width) / 44)
    scale, stroke = text_height / FONT_HEIGHT_PX, max(1, round(text_height / 9))
    (text_width, cap_height), descent = cv2.getTextSize(text, FONT, scale, stroke)
    margin = max(2, round(text_height / 4))
    label_width, label_height = text_width + 2 * margin, cap_height + descent + margin
    x1, y1, x2, y2 = corners.tolist()
    places = [(x1, top) for top in (y1 - label_height, y1, y2 - label_height, y2)]
    if avoid is not None:
        places += [(x2, y1), (x1 - label_width, y1)]
    candidates = []
    for left, top in places:
        # A label that does not fit is pushed back into the image.
        left, top = max(0, min(left, width - label_width)), max(0, min(top, height - label_height))
        bottom, baseline = top + label_height, top + margin + cap_height
        right = left + label_width
        candidates.append(_Label(text, colour, left, top, right, bottom, baseline, margin, scale, stroke))
    return min(
        candidates,
        key=lambda label: (
            any(label.overlaps(other) for other in placed),
            0 if avoid is None else label.num_covered(avoid),
        ),
    )


def _text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black on light colours, white on dark ones (luminance weights of ITU-R BT.601)."""
    blue, green, red = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else (255, 255, 255)
