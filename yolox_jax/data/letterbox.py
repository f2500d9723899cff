"""Resizes images to the input size of the network, preserving their aspect ratio."""

import cv2
import numpy as np
from jaxtyping import UInt8

PADDING = 114
"""Grey level of the padding of letterboxed images, as the published weights expect (docs/yolox.md, 7.2)."""


def fitted_size(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """Return the largest size with an image's aspect ratio that fits `size`, in whole px, and the ratio of sides."""
    height, width = image_size
    ratio = min(size[0] / height, size[1] / width)
    # Otherwise a very long image would get a side of 0 px.
    return (max(int(height * ratio), 1), max(int(width * ratio), 1)), ratio


def resize_to_fit(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Resize an image to the largest size that fits `size` (height, width), preserving its aspect ratio.

    Returns:
        The image, with sides truncated to whole px, and the ratio of new to old sides.
    """
    (height, width), ratio = fitted_size(image.shape[:2], size)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image, ratio


def letterbox(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Resize an image to fit `size` (height, width) and pad it on the right or at the bottom (docs/yolox.md, 7.2).

    Returns:
        The padded image, and the ratio of new to old sides, by which boxes of the image must be multiplied.
    """
    image, ratio = resize_to_fit(image, size)
    if image.shape[:2] == size:
        return image, ratio
    canvas = np.full((*size, 3), PADDING, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas, ratio


def evaluation_image(
    image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Letterbox an image for inference exactly as the original's evaluation does (docs/yolox.md, 7.2 and 9.1).

    It resizes twice: if truncation made the first result one pixel too small, the second resize enlarges it again.

    Returns:
        The padded image and the ratio to divide detected boxes by.
    """
    resized, ratio = resize_to_fit(image, size)
    return letterbox(resized, size)[0], ratio
