"""The values of pixels as the network expects them."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt

from yolox_jax.config import SCALE_OF_16_BITS


def to_float(images: UInt[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Convert the pixels of images to float32 from 0 to 255; those with 16 bits keep fractions."""
    pixels = images.astype(jnp.float32)
    return pixels / SCALE_OF_16_BITS if images.dtype == jnp.uint16 else pixels
