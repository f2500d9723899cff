"""The arrays that cross rooms. Each is a named tuple, so jax sees it as a pytree.

Axes: B images, G object slots (padded), A anchors (level by level, row by row), K detections, C classes.
"""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int


class Targets(NamedTuple):
    """Objects of a batch of images, padded to G slots; a slot that is not valid is ignored whatever it holds."""

    boxes: Float[Array, "B G 4"]
    """Centre x, centre y, width, height in px of the network input."""
    classes: Int[Array, "B G"]
    valid: Bool[Array, "B G"]


class Detections(NamedTuple):
    """Boxes found in a batch of images, best first, padded to K."""

    boxes: Float[Array, "B K 4"]
    """x1, y1, x2, y2 in px of the network input; zeros where not valid."""
    scores: Float[Array, "B K"]
    """Objectness times class probability; 0 where not valid."""
    classes: Int[Array, "B K"]
    """Class index; -1 where not valid."""
    valid: Bool[Array, "B K"]


class Assignment(NamedTuple):
    """Which object each anchor is trained to predict."""

    foreground: Bool[Array, "B A"]
    matched_gt: Int[Array, "B A"]
    """Slot of the object in `Targets`, -1 on the background."""
    matched_iou: Float[Array, "B A"]
    """IoU of the anchor's decoded box with its object, 0 on the background."""
