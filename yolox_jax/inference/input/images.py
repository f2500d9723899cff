"""Images that a program passes: arrays, PIL images, paths of files."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import UInt8

from yolox_jax.data.image import BrokenImage, read_image

Image = np.ndarray | PIL.Image.Image | str | Path
"""A uint8 [H, W, 3] array in BGR order as OpenCV reads it, a PIL image, or the path of an image file."""


def to_bgr_array(image: Image) -> UInt8[np.ndarray, "H W 3"]:
    """Return the pixels of an image in BGR order.

    Raises:
        ValueError: an array is not an image, or a PIL image has a mode without a fixed range of values.
        BrokenImage: a file cannot be read.
    """
    if isinstance(image, PIL.Image.Image):
        return _from_pil(image)
    if not isinstance(image, np.ndarray):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            "an image must be a uint8 array [height, width, 3] in BGR order, as cv2.imread returns it; got "
            f"{image.dtype} {list(image.shape)}. Pass several images as a list"
        )
    return image


def _from_pil(image: PIL.Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    if image.mode in ("I", "F"):
        raise ValueError(f"a PIL image of mode {image.mode} has no fixed range of values; convert it to RGB first")
    try:
        upright = PIL.ImageOps.exif_transpose(image)
    except (OSError, SyntaxError) as error:  # PIL decodes pixels only now, and raises these for damaged files
        path = Path(getattr(image, "filename", "") or "a PIL image")
        raise BrokenImage(path, f"cannot be decoded ({error})") from error
    if upright.mode.startswith("I;16"):  # 16 bits; `convert` would clip them at 255
        grey = (np.asarray(upright) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])
