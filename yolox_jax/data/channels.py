"""Converts images to the pixel format of a dataset, and to pictures to look at."""

import cv2
import numpy as np
from jaxtyping import Shaped, UInt, UInt8

from yolox_jax.config import SCALE_OF_16_BITS
from yolox_jax.data.pixel_format import PixelFormat


def to_format(image: Shaped[np.ndarray, "H W C"], pixels: PixelFormat) -> UInt[np.ndarray, "H W D"]:
    """Convert an image where nothing is lost that the format could hold.

    Grey becomes three equal colours, and colours become grey. Values of 8 bits are scaled to 16.

    Args:
        image: of any number of channels; three are BGR.
        pixels: the format to convert to.

    Raises:
        ValueError: the image has another number of channels, or 16 bits where the format has 8. The message is phrased
            to follow the name of the image.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"has values of type {image.dtype}; convert them to uint8 or uint16, over its full range")
    own = PixelFormat.of(image)
    if own.bits > pixels.bits or (own.channels != pixels.channels and {own.channels, pixels.channels} != {1, 3}):
        raise ValueError(f"has {own} instead of {pixels}, as --data.channels and --data.bits set here or in training")
    if own.channels < pixels.channels:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    elif own.channels > pixels.channels:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    if own.bits < pixels.bits:
        image = image.astype(np.uint16) * np.uint16(SCALE_OF_16_BITS)
    return image


def to_picture(image: UInt[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return an image as 8-bit BGR to look at: one or two channels as grey from the first, of more the first three."""
    if image.dtype == np.uint16:
        image = (image // SCALE_OF_16_BITS).astype(np.uint8)
    if image.shape[2] < 3:
        return cv2.cvtColor(np.ascontiguousarray(image[..., 0]), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(image[..., :3])
