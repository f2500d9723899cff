"""Draws suspect annotations: the part of the image around each, with what is annotated and what is detected."""

from typing import Any

import numpy as np
from jaxtyping import Float

from yolox_jax.data.dataset import Record
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.evaluation.suspects import SuspectKind
from yolox_jax.inference.draw import draw_boxes
from yolox_jax.report.contact_sheets import CELL_PX, View, cut_out

AROUND = 2.5
"""Side of the part that is shown, relative to the longer side of the boxes: enough to see what the object is among."""

ANNOTATED, DETECTED, OTHERS = (0, 165, 255), (255, 120, 30), (235, 235, 235)
"""BGR: orange, blue, light grey. Orange and blue differ for colour-blind eyes too."""

MAGNIFICATION = 1.4
"""Scale of text and lines: views are small."""

SAME_BOX_PX = 0.01
"""Boxes are the same up to rounding."""


def draw_suspect(entry: dict[str, Any], record: Record) -> View | None:
    """Draw one suspect, labelled, among the other annotations of its image.

    Args:
        entry: one of the `suspects` of `describe_suspects`.
        record: its image.

    Returns:
        BGR, grey outside the image; None if the image cannot be read.
    """
    try:
        image = load_image(record)
    except (BrokenImage, OSError):
        return None
    marks = [
        (part["box_xyxy"], label, colour)
        for part, label, colour in (
            (entry["detection"], detected(entry), DETECTED),
            (entry["annotation"], annotated(entry), ANNOTATED),
        )
        if part is not None
    ]
    boxes = np.array([box for box, _, _ in marks], np.float64)
    view, origin, ratio = cut_out(image, [tuple(box) for box in boxes.tolist()], AROUND)
    others = _on_view(_others(record, entry), origin, ratio)
    labels = [label for _, label, _ in marks]
    colours = [colour for _, _, colour in marks]
    shown = np.concatenate([_on_view(boxes, origin, ratio), others])
    return draw_boxes(
        view, shown, labels + [""] * len(others), colours + [OTHERS] * len(others), magnification=MAGNIFICATION
    )


def caption(entry: dict[str, Any]) -> str:
    """Rank, kind, score and image of an entry in one line."""
    return f"{entry['rank']}: {entry['kind']} {entry['score']:.2f}, {what(entry)}, {entry['name']}"


def what(entry: dict[str, Any]) -> str:
    """What is annotated and what is detected, in words."""
    if entry["kind"] == SuspectKind.MISSING:
        return f"not annotated, detected {detected(entry)}"
    if entry["kind"] == SuspectKind.SPURIOUS:
        return f"annotated {annotated(entry)}, no detection"
    return f"annotated {annotated(entry)}, detected {detected(entry)}, IoU {entry['iou']:.2f}"


def annotated(entry: dict[str, Any]) -> str:
    """The class of the annotation; empty if there is none."""
    return entry["annotation"]["class"] if entry["annotation"] is not None else ""


def detected(entry: dict[str, Any]) -> str:
    """Class and score of the detection; empty if there is none."""
    detection = entry["detection"]
    return f"{detection['class']} {detection['score']:.2f}" if detection is not None else ""


def _others(record: Record, entry: dict[str, Any]) -> Float[np.ndarray, "N 4"]:
    """The boxes of the image but that of the suspect."""
    boxes = record.boxes.astype(np.float64)
    if entry["annotation"] is None:
        return boxes
    limits = [record.width, record.height] * 2
    own = np.clip(entry["annotation"]["box_xyxy"], 0, limits)
    return boxes[np.abs(boxes - own).max(axis=1, initial=0.0) > SAME_BOX_PX]


def _on_view(boxes: Float[np.ndarray, "N 4"], origin: Float[np.ndarray, "4"], ratio: float) -> Float[np.ndarray, "N 4"]:
    """Boxes in px of the view, without those outside it."""
    placed = (boxes - origin) * ratio
    inside = (placed[:, 2:] > 0).all(axis=1) & (placed[:, :2] < CELL_PX).all(axis=1)
    kept: Float[np.ndarray, "N 4"] = placed[inside]
    return kept
