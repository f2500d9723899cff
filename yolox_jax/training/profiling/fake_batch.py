"""Random training batches: noise images, and objects of all sizes."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

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
    sources: int = 0,
    members: int = 0,
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
        sources: for `data.augment.on device`, number of images that each sample sends; 0 for images that are drawn
            already.
        members: number of images that such a sample is drawn from.
    """
    rng = np.random.default_rng(0)
    slots = max(slots, objects)
    sides = np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(LARGEST_PX), (images, slots, 2)))
    centres = rng.uniform(0, size[::-1], (images, slots, 2))
    shape = (images, sources, *size, channels) if sources else (images, *size, channels)
    pixels = rng.integers(0, 2**bits, shape, f"uint{bits}")
    return {
        **(_drawn_from(pixels, members) if sources else {"images": pixels}),
        "boxes": np.concatenate([centres, sides], axis=-1).astype(np.float32),
        "classes": rng.integers(0, num_classes, (images, slots), np.int32),
        "valid": np.broadcast_to(np.arange(slots) < objects, (images, slots)).copy(),
    }


def _drawn_from(sources: UInt8[np.ndarray, "B P H W C"], members: int) -> dict[str, Any]:
    """The arrays that samples are drawn from: mosaics about the middle of the output."""
    images, own, height, width = sources.shape[:4]
    turned = np.array([[1.2, 0.2, -0.7 * width], [-0.2, 1.2, -0.5 * height]], np.float32)
    windows = np.array([0, 0, width, height], np.int32)
    return {
        "sources": sources,
        "members": np.broadcast_to(np.arange(members, dtype=np.int32) % own, (images, members)).copy(),
        "windows": np.broadcast_to(windows, (images, members, 4)).copy(),
        "matrices": np.broadcast_to(turned, (images, 2, 2, 3)).copy(),
        "partner_padding": np.broadcast_to(windows, (images, 4)).copy(),
        "shifts": np.broadcast_to(np.array([3, 20, -10], np.int32), (images, 3)).copy(),
        "shifted_size": np.broadcast_to(np.array([height, width], np.int32), (images, 2)).copy(),
    }
