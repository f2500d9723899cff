"""Objects as they are annotated, made into what assignment and losses take."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from yolox_jax.structures import Targets


def padded_targets(
    boxes: Sequence[Float[np.ndarray, "_ 4"]], classes: Sequence[Int[np.ndarray, " _"]], num_slots: int
) -> Targets:
    """The objects of a batch of images in the slots of `Targets`.

    Args:
        boxes: of each image x1, y1, x2, y2 in px of the network input.
        classes: of each image those of its boxes.
        num_slots: at least as many as any image has objects.
    """
    padded = np.zeros((len(boxes), num_slots, 4), np.float32)
    padded_classes = np.zeros(padded.shape[:2], np.int32)
    valid = np.zeros(padded.shape[:2], bool)
    for row, (corners, of_image) in enumerate(zip(boxes, classes, strict=True)):
        count = len(corners)
        padded[row, :count, :2] = (corners[:, :2] + corners[:, 2:]) / 2
        padded[row, :count, 2:] = corners[:, 2:] - corners[:, :2]
        padded_classes[row, :count], valid[row, :count] = of_image, True
    return Targets(jnp.asarray(padded), jnp.asarray(padded_classes), jnp.asarray(valid))
