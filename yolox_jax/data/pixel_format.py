"""The number of channels of images and the bits of their values, the same throughout a dataset (docs/data.md)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt
from numpy.typing import DTypeLike

from yolox_jax.config import DataConfig


class PixelFormat(NamedTuple):
    """What the pixels of all images of a dataset, and of the batches made of them, have in common."""

    channels: int = 3
    bits: int = 8
    """8 or 16."""

    @classmethod
    def of(cls, image: UInt[np.ndarray, "H W C"]) -> "PixelFormat":
        """The format of an image."""
        return cls(image.shape[2], 8 * image.dtype.itemsize)

    @property
    def dtype(self) -> DTypeLike:
        """NumPy type of the values."""
        return np.uint16 if self.bits == 16 else np.uint8

    def __str__(self) -> str:
        """Such as `4 channels of 16 bits`."""
        return f"{self.channels} channel{'s' * (self.channels > 1)} of {self.bits} bits"


BGR8 = PixelFormat()
"""Colours as OpenCV has them: blue, green, red, with 8 bits each."""


def pixel_format(config: DataConfig) -> PixelFormat:
    """Return the format that a config sets for all images."""
    return PixelFormat(config.channels, config.bits)
