"""MixUp: the mean of a mosaic and another image, with the objects of both (SPEC A3.3)."""

import cv2
import numpy as np

from yolox_jax.data.image import LabelledImage
from yolox_jax.data.letterbox import letterbox


def mixup(
    base: LabelledImage, partner: LabelledImage, scale_range: tuple[float, float], rng: np.random.Generator
) -> LabelledImage:
    """Blend a partner, randomly zoomed, mirrored and cropped, into an image of the input size.

    Where the partner is smaller than the image, black is blended in.
    """
    height, width = base.image.shape[:2]
    zoom = rng.uniform(*scale_range)
    mirrored = rng.uniform() > 0.5
    image, boxes = _zoomed(partner, (height, width), zoom)
    if mirrored:
        image, boxes = mirror(image, boxes)
    top = int(rng.integers(max(image.shape[0] - height, 1)))
    left = int(rng.integers(max(image.shape[1] - width, 1)))
    window = image[top : top + height, left : left + width]
    blended = base.image >> 1  # where the window does not reach: the mean with black
    part = base.image[: window.shape[0], : window.shape[1]]
    # Mean of two bytes, rounded down, without leaving 8 bits: what they share plus half of what they do not.
    blended[: window.shape[0], : window.shape[1]] = (part & window) + ((part ^ window) >> 1)
    boxes = np.clip(
        boxes - np.array([left, top, left, top], np.float32), 0.0, np.array([width, height] * 2, np.float32)
    )
    return LabelledImage(blended, np.concatenate([base.boxes, boxes]), np.concatenate([base.classes, partner.classes]))


def _zoomed(partner: LabelledImage, size: tuple[int, int], zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """The letterboxed partner, padding and all, resized by `zoom`; boxes clipped to it."""
    padded, ratio = letterbox(partner.image, size)
    new_height, new_width = max(int(size[0] * zoom), 1), max(int(size[1] * zoom), 1)
    image = cv2.resize(padded, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    boxes = partner.boxes * np.float32(ratio * zoom)
    return image, np.clip(boxes, 0.0, np.array([new_width, new_height] * 2, np.float32))


def mirror(image: np.ndarray, boxes_xyxy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image and its boxes left to right."""
    mirrored = boxes_xyxy.copy()
    mirrored[:, [0, 2]] = image.shape[1] - boxes_xyxy[:, [2, 0]]
    return cv2.flip(image, 1), mirrored
