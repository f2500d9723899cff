"""The pictures of a report: images with their objects and detections."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_jax.data.image import read_picture
from yolox_jax.data.letterbox import fitted_size
from yolox_jax.evaluation.errors import ErrorKind
from yolox_jax.inference.draw import draw_boxes

SIDE_PX = 520
"""Longer side of a picture: boxes and labels are legible, and fifty pictures stay below 5 MB."""

MAGNIFICATION = 1.7
"""Scale of text and lines: the page shows the pictures reduced."""

JPEG_QUALITY = 80

CORRECT, WRONG, OTHER_WRONG, OBJECT = (90, 190, 60), (40, 40, 235), (0, 165, 255), (255, 255, 255)
"""BGR: green, red, orange, white."""


def picture_of(entry: dict[str, Any], kind: ErrorKind) -> bytes:
    """Draw an image with its objects and detections as a JPEG; errors of type `kind` are red and on top.

    Args:
        entry: an image from the galleries of `analyse`, with a path.
        kind: the error type to show.

    Raises:
        BrokenImage: the image cannot be read, or its size has changed since the evaluation.
    """
    whole = read_picture(Path(entry["path"]), size=(entry["height"], entry["width"]))
    (height, width), ratio = fitted_size(whole.shape[:2], (SIDE_PX, SIDE_PX))
    # Large images shrink by large factors, where bilinear interpolation, as in letterbox, would skip pixels.
    image = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC)
    marks = _marks(entry, kind)
    boxes = np.array([box for box, _, _ in marks], np.float64).reshape(-1, 4) * ratio
    labels, colours = [label for _, label, _ in marks], [colour for _, _, colour in marks]
    drawn = draw_boxes(image, boxes, labels, colours, magnification=MAGNIFICATION)
    return cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def as_data_url(jpeg: bytes) -> str:
    """Encode a JPEG as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _marks(entry: dict[str, Any], kind: ErrorKind) -> list[tuple[list[float], str, tuple[int, int, int]]]:
    """Box, label and colour of what is drawn, the most important first."""
    own, others, correct, objects = [], [], [], []
    for thing in entry["objects"]:
        if kind is ErrorKind.MISSED and thing["missed"]:
            own.append((thing["box"], f"missed {thing['class']}", WRONG))
        else:
            objects.append((thing["box"], "", OBJECT))
    for detection in sorted(entry["detections"], key=lambda detection: -detection["score"]):
        label = f"{detection['class']} {detection['score']:.2f}"
        if detection["object"] not in (None, detection["class"]):
            label += f", is {detection['object']}"
        if detection["kind"] == kind:
            own.append((detection["box"], label, WRONG))
        elif detection["kind"] is None:
            correct.append((detection["box"], "", CORRECT))
        else:
            others.append((detection["box"], "", OTHER_WRONG))
    return [*own, *others, *correct, *objects]
