"""Resizes images to the input size of the network, preserving their aspect ratio."""

import cv2
import numpy as np
from jaxtyping import UInt
from numpy.typing import DTypeLike

from yolox_jax.config import PADDING as PADDING
from yolox_jax.config import SCALE_OF_16_BITS


def padding_of(dtype: DTypeLike) -> int:
    """Return the value of the padding in images of this type: `PADDING`, or as bright in 16 bits."""
    return PADDING * SCALE_OF_16_BITS if dtype == np.uint16 else PADDING


def fitted_size(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """Return the largest size with an image's aspect ratio that fits `size`, in whole px, and the ratio of sides."""
    height, width = image_size
    ratio = min(size[0] / height, size[1] / width)
    # Otherwise a very long image would get a side of 0 px.
    return (max(int(height * ratio), 1), max(int(width * ratio), 1)), ratio


def resize_exactly(image: UInt[np.ndarray, "H W C"], size: tuple[int, int]) -> UInt[np.ndarray, "h w C"]:
    """Resize an image bilinearly to `size` (height, width), unless it has that size."""
    if image.shape[:2] == size:
        return image
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*size, -1)  # OpenCV drops a single channel


def resize_to_fit(image: UInt[np.ndarray, "H W C"], size: tuple[int, int]) -> tuple[UInt[np.ndarray, "h w C"], float]:
    """Resize an image to the largest size that fits `size` (height, width), preserving its aspect ratio.

    Returns:
        The image, with sides truncated to whole px, and the ratio of new to old sides.
    """
    fitted, ratio = fitted_size(image.shape[:2], size)
    return resize_exactly(image, fitted), ratio


def letterbox(image: UInt[np.ndarray, "H W C"], size: tuple[int, int]) -> tuple[UInt[np.ndarray, "h w C"], float]:
    """Resize an image to fit `size` (height, width) and pad it on the right or at the bottom (docs/yolox.md, 7.2).

    Returns:
        The padded image, and the ratio of new to old sides, by which boxes of the image must be multiplied.
    """
    image, ratio = resize_to_fit(image, size)
    if image.shape[:2] == size:
        return image, ratio
    canvas = np.full((*size, image.shape[2]), padding_of(image.dtype), image.dtype)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas, ratio


def evaluation_image(
    image: UInt[np.ndarray, "H W C"], size: tuple[int, int]
) -> tuple[UInt[np.ndarray, "h w C"], float]:
    """Letterbox an image for inference exactly as the original's evaluation does (docs/yolox.md, 7.2 and 9.1).

    It resizes twice: if truncation made the first result one pixel too small, the second resize enlarges it again.

    Returns:
        The padded image and the ratio to divide detected boxes by.
    """
    resized, ratio = resize_to_fit(image, size)
    return letterbox(resized, size)[0], ratio
