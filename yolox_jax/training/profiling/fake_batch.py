"""Random training batches: noise images, and objects of all sizes."""

from typing import Any

import numpy as np

SMALLEST_PX, LARGEST_PX = 10.0, 300.0


def fake_batch(
    images: int,
    size: tuple[int, int],
    *,
    objects: int,
    num_classes: int = 80,
    slots: int = 120,
    channels: int = 3,
    bits: int = 8,
) -> dict[str, Any]:
    """A batch as the data pipeline returns it, always the same.

    Args:
        images: number of images.
        size: height and width in px.
        objects: number of objects per image.
        num_classes: number of classes.
        slots: object slots per image; at least `objects`.
        channels: number of channels of the images.
        bits: 8 or 16, of the values of the images.
    """
    rng = np.random.default_rng(0)
    slots = max(slots, objects)
    sides = np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(LARGEST_PX), (images, slots, 2)))
    centres = rng.uniform(0, size[::-1], (images, slots, 2))
    return {
        "images": rng.integers(0, 2**bits, (images, *size, channels), f"uint{bits}"),
        "boxes": np.concatenate([centres, sides], axis=-1).astype(np.float32),
        "classes": rng.integers(0, num_classes, (images, slots), np.int32),
        "valid": np.broadcast_to(np.arange(slots) < objects, (images, slots)).copy(),
    }
