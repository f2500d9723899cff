"""Multi-scale training: the input size of each step (docs/yolox.md, 7.6)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt

from yolox_jax.config import STRIDE
from yolox_jax.models.pixels import to_float
from yolox_jax.structures import Targets


def input_size_at(
    step: int,
    *,
    base: tuple[int, int],
    range_px: tuple[int, int] | None,
    interval: int,
    seed: int,
    stride: int = STRIDE,
) -> tuple[int, int]:
    """Height and width of the network input at `step`, in px; depends on `(seed, step // interval)` only.

    The first `interval` steps use `base`. After that, the height is drawn from the multiples of `stride` in `range_px`,
    including both ends; the width keeps the aspect ratio of `base`, rounded down to a multiple of `stride`, the largest
    of the network in px.
    """
    if range_px is None or step < interval:
        return base
    low, high = (px // stride for px in range_px)
    rows = int(np.random.default_rng((seed, step // interval)).integers(low, high + 1))
    return size_of(rows * stride, base, stride)


def size_of(height: int, base: tuple[int, int], stride: int = STRIDE) -> tuple[int, int]:
    """The input size of a given height with the aspect ratio of `base`, in px; multiples of `stride`."""
    rows = height // stride
    return rows * stride, max(int(rows * base[1] / base[0]), 1) * stride


def resize_batch(
    images: UInt[Array, "B H W C"], targets: Targets, size: tuple[int, int]
) -> tuple[Float[Array, "B h w C"], Targets]:
    """Resizes images to `size` (height, width), as float32, and scales the targets accordingly.

    The interpolation is bilinear with half-pixel centers and without antialiasing, as in the original.
    """
    pixels = to_float(images)
    height, width = images.shape[1:3]
    if (height, width) == tuple(size):
        return pixels, targets
    shape = (images.shape[0], *size, images.shape[3])
    scale = jnp.asarray([size[1] / width, size[0] / height] * 2, jnp.float32)
    resized = jax.image.resize(pixels, shape, "bilinear", antialias=False)
    return resized, targets._replace(boxes=targets.boxes * scale)
