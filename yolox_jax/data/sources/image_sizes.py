"""Sizes of image files, from their headers."""

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.ExifTags
import PIL.Image

from yolox_jax.data.image import BrokenImage, read_image

_HEADERS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats whose headers tell the size that OpenCV decodes to; other images are decoded."""

_NUM_THREADS = 8


def image_sizes(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    """Height and width in px of images, turned upright as their EXIF orientation says; None of what cannot be read."""
    with warnings.catch_warnings():
        # On sizes that OpenCV reads, and on EXIF data that only a part of is sound.
        warnings.filterwarnings("ignore", module="PIL")
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            return list(pool.map(_image_size, paths))


def _image_size(path: Path) -> tuple[int, int] | None:
    try:
        with PIL.Image.open(path, formats=_HEADERS) as image:
            width, height = image.size
            # Not image.getexif(): it decodes a PNG that has none, and heeds XMP, which OpenCV does not.
            exif = PIL.Image.Exif()
            exif.load(image.info.get("exif", b""))
            turned = exif.get(PIL.ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return (width, height) if turned else (height, width)
    except Exception:  # Pillow raises many kinds; whether an image is broken, OpenCV decides
        return _decoded_size(path)


def _decoded_size(path: Path) -> tuple[int, int] | None:
    try:
        height, width = read_image(path).shape[:2]
    except BrokenImage:
        return None
    return height, width
