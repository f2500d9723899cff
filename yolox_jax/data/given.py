"""Images as a program gives them: arrays, PIL images, files."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import UInt8

from yolox_jax.data.image import read_image

Image = np.ndarray | PIL.Image.Image | str | Path
"""A uint8 [H, W, 3] array in BGR order as OpenCV reads it, a PIL image, or the path of an image file."""


def as_array(image: Image) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an image in BGR order.

    Raises:
        ValueError: an array is no image.
        BrokenImage: a file cannot be read.
    """
    if isinstance(image, PIL.Image.Image):
        return np.ascontiguousarray(np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1])
    if not isinstance(image, np.ndarray):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"an image is a uint8 array [height, width, 3] in BGR order, as cv2.imread gives it; this one is "
            f"{image.dtype} {list(image.shape)}. Give several images as a list"
        )
    return image
