"""Draws training samples on the devices (`data.augment.on device`): mosaic, affine, MixUp, mirroring and colours.

The random choices and boxes come from the host, which sends the images and where they go
(`data/augment/sources.py`). Like the original (docs/yolox.md, 7.3 to 7.5), this interpolates images that are already
resized to fit the input; the host interpolates each image once, from the pixels of its file. Values are rounded to
whole numbers at the same places as on the host: after each warp, after MixUp, and in OpenCV's two colour conversions.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, UInt, UInt8

from yolox_jax.config import PADDING
from yolox_jax.config.augment import MOSAIC_TILES

HUES = 180
"""OpenCV's circle of hues."""
FRACTION_BITS = 12
"""Of the fixed-point numbers in OpenCV's conversion from BGR to HSV."""

Lookup = Callable[[Int32[Array, "H W"], Int32[Array, "H W"]], Float[Array, "H W C"]]
"""The px at columns x and rows y of an endless image."""


def draw_samples(batch: Mapping[str, Any]) -> UInt8[Array, "B H W C"]:
    """Draws the images of a batch.

    Args:
        batch: the arrays of `SampleSources`, each with an axis for the samples in front; others are ignored.
    """
    sources = batch["sources"]
    own = sources.shape[1]
    # The members of a sample may be images of its neighbours.
    members = jnp.arange(len(sources))[:, None] * own + batch["members"]
    draw = functools.partial(_draw_sample, sources.reshape(-1, *sources.shape[2:]))
    names = ("windows", "matrices", "partner_padding", "shifts", "shifted_size")
    return jax.vmap(draw)(members, *(batch[name] for name in names))


def images_of(batch: Mapping[str, np.ndarray]) -> UInt[np.ndarray, "B H W C"]:
    """The images of a batch in host memory, drawn on the device unless the host has drawn them."""
    return batch["images"] if "images" in batch else np.asarray(jax.jit(draw_samples)(dict(batch)))


def _draw_sample(
    sources: UInt8[Array, "P H W C"],
    members: Int[Array, " N"],
    windows: Int[Array, "N 4"],
    matrices: Float[Array, "2 2 3"],
    partner_padding: Int[Array, "4"],
    shifts: Int[Array, "3"],
    shifted_size: Int[Array, "2"],
) -> UInt8[Array, "H W C"]:
    height, width, channels = sources.shape[1:]
    rows, columns = jnp.mgrid[:height, :width]
    tiles = _canvas(sources, members[:MOSAIC_TILES], windows)
    image = _warped(tiles, matrices[0], rows, columns)
    if len(members) > MOSAIC_TILES:
        padded = _inside(columns, rows, partner_padding)
        partner = _canvas(sources, members[MOSAIC_TILES:], windows[MOSAIC_TILES:], jnp.where(padded, PADDING, 0))
        mean = jnp.floor((image + _warped(partner, matrices[1], rows, columns)) / 2)
        image = jnp.where(partner_padding[2] > 0, mean, image)
    if channels == 3:
        is_shifted = (rows < shifted_size[0]) & (columns < shifted_size[1])
        image = jnp.where(is_shifted[..., None], shift_hsv(image, shifts), image)
    return image.astype(jnp.uint8)


def _canvas(
    sources: UInt8[Array, "P H W C"],
    members: Int[Array, " M"],
    windows: Int[Array, "N 4"],
    background: Int[Array, "H W"] | int = PADDING,
) -> Lookup:
    """The canvas on which up to four images meet in the origin: bottom right, bottom left, top right, top left.

    Args:
        sources: the images of a batch.
        members: places of those on the canvas.
        windows: the part of each that the canvas shows.
        background: values where there is no image, for each px of the output.
    """

    def at(x: Int32[Array, "H W"], y: Int32[Array, "H W"]) -> Float[Array, "H W C"]:
        # One image covers the whole plane: a sample that is no mosaic, or the partner of MixUp.
        place = jnp.where(x < 0, 1, 0) + jnp.where(y < 0, 2, 0) if len(members) > 1 else jnp.zeros_like(x)
        window = windows[place]
        if len(members) > 1:  # images on the left end at the origin, and those at the top
            x = x + jnp.where(x < 0, window[..., 2], 0)
            y = y + jnp.where(y < 0, window[..., 3], 0)
        found = sources.at[members[place], y, x].get(mode="clip").astype(jnp.float32)
        return jnp.where(_inside(x, y, window)[..., None], found, jnp.broadcast_to(background, x.shape)[..., None])

    return at


def _inside(x: Int[Array, "H W"], y: Int[Array, "H W"], window: Int[Array, "*S 4"]) -> Bool[Array, "H W"]:
    x1, y1, x2, y2 = (window[..., side] for side in range(4))
    return (x >= x1) & (x < x2) & (y >= y1) & (y < y2)


def _warped(
    at: Lookup, matrix: Float[Array, "2 3"], rows: Int[Array, "H W"], columns: Int[Array, "H W"]
) -> Float[Array, "H W C"]:
    """Interpolates an image bilinearly at where `matrix` maps the px of the output, rounded to whole values."""
    x = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2]
    y = matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2]
    left, top = jnp.floor(x), jnp.floor(y)
    right_share, lower_share = (x - left)[..., None], (y - top)[..., None]
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    upper = at(left, top) * (1 - right_share) + at(left + 1, top) * right_share
    lower = at(left, top + 1) * (1 - right_share) + at(left + 1, top + 1) * right_share
    return jnp.floor(upper * (1 - lower_share) + lower * lower_share + 0.5)


def shift_hsv(image: Float[Array, "H W 3"], shifts: Int[Array, "3"]) -> Float[Array, "H W 3"]:
    """Adds to hue (modulo 180), saturation and value (clipped to 0..255) of a BGR image, as OpenCV does with 8 bits.

    Args:
        image: whole numbers from 0 to 255.
        shifts: of hue, saturation and value.
    """
    hue, saturation, value = _to_hsv(image.astype(jnp.int32))
    hue = (hue + shifts[0]) % HUES
    saturation, value = (
        jnp.clip(part + shift, 0, 255) for part, shift in ((saturation, shifts[1]), (value, shifts[2]))
    )
    # The height of each colour over the circle is a trapezium, of which blue, green and red see shifted copies.
    sector = (hue * (6 / HUES))[..., None]
    position = (sector + jnp.array([1.0, 3.0, 5.0])) % 6
    darkening = jnp.clip(jnp.minimum(position, 4 - position), 0, 1) * (saturation / 255)[..., None]
    # OpenCV truncates here; whole numbers must not become smaller.
    return jnp.floor(value[..., None] * (1 - darkening) + 1e-4)


def _to_hsv(image: Int32[Array, "H W 3"]) -> tuple[Int32[Array, "H W"], Int32[Array, "H W"], Int32[Array, "H W"]]:
    """Hue from 0 to 179, saturation and value from 0 to 255, in fixed-point numbers as OpenCV computes them."""
    blue, green, red = image[..., 0], image[..., 1], image[..., 2]
    value, span = image.max(axis=-1), image.max(axis=-1) - image.min(axis=-1)
    saturation = _rounded_product(span, 255, value)
    sixth = jnp.where(
        value == red, green - blue, jnp.where(value == green, blue - red + 2 * span, red - green + 4 * span)
    )
    hue = _rounded_product(sixth, HUES / 6, span)
    return jnp.where(hue < 0, hue + HUES, hue), saturation, value


def _rounded_product(factor: Int32[Array, "H W"], scale: float, divisor: Int32[Array, "H W"]) -> Int32[Array, "H W"]:
    """`factor` times `scale / divisor`, a fraction that is rounded first; 0 if the divisor is."""
    fraction = jnp.round(scale * 2**FRACTION_BITS / jnp.maximum(divisor, 1)).astype(jnp.int32)
    return (factor * fraction + 2 ** (FRACTION_BITS - 1)) >> FRACTION_BITS
