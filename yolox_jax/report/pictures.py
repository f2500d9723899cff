"""The pictures of a report: images with what was found in them, right and wrong."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_jax.data.image import read_image
from yolox_jax.data.letterbox import fitted_size
from yolox_jax.evaluation.errors import ErrorKind
from yolox_jax.inference.draw import draw_boxes

SIDE_PX = 520
"""Longer side of a picture: boxes and labels can be seen, and fifty pictures stay below 5 MB."""

MAGNIFICATION = 1.7
"""Of letters and lines: the page shows the pictures smaller than they are."""

JPEG_QUALITY = 80

CORRECT, WRONG, OTHER_WRONG, OBJECT = (90, 190, 60), (40, 40, 235), (0, 165, 255), (255, 255, 255)
"""BGR: green, red, orange, white."""


def picture_of(entry: dict[str, Any], kind: ErrorKind) -> bytes:
    """A JPEG of an image with its objects and detections; those of `kind` are red and drawn on top.

    Args:
        entry: an image of the galleries of `analyse`, with a path.
        kind: the error that the picture is to show.

    Raises:
        BrokenImage: the image cannot be read, or is not the one that was evaluated.
    """
    whole = read_image(Path(entry["path"]), size=(entry["height"], entry["width"]))
    (height, width), ratio = fitted_size(whole.shape[:2], (SIDE_PX, SIDE_PX))
    # Large images shrink many times over, where letterbox's bilinear weights would leave px out.
    image = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC)
    marks = _marks(entry, kind)
    boxes = np.array([box for box, _, _ in marks], np.float64).reshape(-1, 4) * ratio
    labels, colours = [label for _, label, _ in marks], [colour for _, _, colour in marks]
    drawn = draw_boxes(image, boxes, labels, colours, magnification=MAGNIFICATION)
    return cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def as_data_url(jpeg: bytes) -> str:
    """A picture as part of a page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _marks(entry: dict[str, Any], kind: ErrorKind) -> list[tuple[list[float], str, tuple[int, int, int]]]:
    """Box, label and colour of what is drawn, the most important first."""
    own, others, correct, objects = [], [], [], []
    for thing in entry["objects"]:
        if kind is ErrorKind.MISSED and thing["missed"]:
            own.append((thing["box"], f"missed {thing['class']}", WRONG))
        else:
            objects.append((thing["box"], "", OBJECT))
    for found in sorted(entry["detections"], key=lambda found: -found["score"]):
        label = f"{found['class']} {found['score']:.2f}"
        if found["object"] not in (None, found["class"]):
            label += f", is {found['object']}"
        if found["kind"] == kind:
            own.append((found["box"], label, WRONG))
        elif found["kind"] is None:
            correct.append((found["box"], "", CORRECT))
        else:
            others.append((found["box"], "", OTHER_WRONG))
    return [*own, *others, *correct, *objects]
