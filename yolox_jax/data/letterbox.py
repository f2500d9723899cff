"""Fits images into the input of the network without changing their aspect."""

import cv2
import numpy as np
from jaxtyping import UInt8

PADDING = 114
"""Grey value around letterboxed images, as the published weights expect (docs/yolox.md, 7.2)."""


def fitted_size(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """The largest height and width of an image's aspect that fit into `size`, truncated to whole px, and the ratio."""
    height, width = image_size
    ratio = min(size[0] / height, size[1] / width)
    # A very long image would otherwise get a side of 0 px.
    return (max(int(height * ratio), 1), max(int(width * ratio), 1)), ratio


def resize_to_fit(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Resize an image to the largest size of its aspect that fits into `size` (height, width).

    Returns:
        The image, its sides truncated to whole px, and the ratio of new to old sides.
    """
    (height, width), ratio = fitted_size(image.shape[:2], size)
    if (height, width) != image.shape[:2]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image, ratio


def letterbox(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """Resize an image to fit into `size` (height, width) and pad it at the right or the bottom (docs/yolox.md, 7.2).

    Returns:
        The padded image and the ratio of new to old sides: boxes of the image times the ratio are boxes of the result.
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
    """Prepare an image for inference exactly as the original's evaluation does (docs/yolox.md, 7.1 and 9.1).

    It resizes twice: where truncation made the first result one px too small, the second stretches it again.

    Returns:
        The padded image and the ratio to divide detected boxes by.
    """
    resized, ratio = resize_to_fit(image, size)
    return letterbox(resized, size)[0], ratio
