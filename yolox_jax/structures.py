"""Arrays passed between packages. Each structure is a named tuple, and so a pytree.

Axes: B images, G object slots (padded), A anchors (level by level, row by row), K detections, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Targets(NamedTuple):
    """Ground-truth objects of a batch of images, padded to G slots. The content of invalid slots is ignored."""

    boxes: Float[Array, "B G 4"]
    """Centre x, centre y, width, height in pixels of the network input."""
    classes: Int[Array, "B G"]
    valid: Bool[Array, "B G"]


class Detections(NamedTuple):
    """Detected boxes of a batch of images, best first, padded to K."""

    boxes: Float[Array, "B K 4"]
    """x1, y1, x2, y2 in pixels of the network input; zeros where not valid."""
    scores: Float[Array, "B K"]
    """Objectness times class probability; 0 where not valid."""
    classes: Int[Array, "B K"]
    """Class index; -1 where not valid."""
    valid: Bool[Array, "B K"]


class Assignment(NamedTuple):
    """Which object each anchor is trained to predict."""

    foreground: Bool[Array, "B A"]
    matched_gt: Int[Array, "B A"]
    """Slot of the object in `Targets`; -1 for background anchors."""
    matched_iou: Float[Array, "B A"]
    """IoU of the anchor's decoded box with its object; 0 for background anchors."""
    ignored: Bool[Array, "B A"] | None = None
    """Background anchors that the objectness loss leaves out; None if the rule ignores none."""


def padded_targets(
    boxes: Sequence[Float[np.ndarray, "_ 4"]], classes: Sequence[Int[np.ndarray, " _"]], num_slots: int
) -> Targets:
    """Pads the objects of a batch of images to `Targets`.

    Args:
        boxes: for each image, x1, y1, x2, y2 of its objects in pixels of the network input.
        classes: for each image, the classes of its objects.
        num_slots: number of slots, at least the largest number of objects in an image.
    """
    padded = np.zeros((len(boxes), num_slots, 4), np.float32)
    padded_classes = np.zeros(padded.shape[:2], np.int32)
    valid = np.zeros(padded.shape[:2], bool)
    for row, (corners, image_classes) in enumerate(zip(boxes, classes, strict=True)):
        count = len(corners)
        padded[row, :count, :2] = (corners[:, :2] + corners[:, 2:]) / 2
        padded[row, :count, 2:] = corners[:, 2:] - corners[:, :2]
        padded_classes[row, :count], valid[row, :count] = image_classes, True
    return Targets(jnp.asarray(padded), jnp.asarray(padded_classes), jnp.asarray(valid))
