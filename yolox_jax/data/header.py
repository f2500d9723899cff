"""Reads the sizes of images from their headers, without decoding them."""

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import PIL.ExifTags
import PIL.Image

from yolox_jax.data.image import BrokenImage, read_image

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats whose headers contain the size and orientation that OpenCV decodes to."""
_NUM_THREADS = 8


class Header(NamedTuple):
    """The header of an image as stored."""

    height: int
    width: int
    orientation: int
    """EXIF orientation, 1 to 8; 1 means no rotation."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in px after the EXIF rotation."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(image: Path | bytes) -> Header | None:
    """Read the header of an image file or of its content; None if only decoding tells the size."""
    try:
        with PIL.Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=_FORMATS) as opened:
            # Not opened.getexif(): it decodes a PNG without EXIF, and uses XMP, which OpenCV ignores.
            exif = PIL.Image.Exif()
            exif.load(opened.info.get("exif", b""))
            orientation: Any = exif.get(PIL.ExifTags.Base.Orientation)
            return Header(opened.height, opened.width, orientation if orientation in range(1, 9) else 1)
    except Exception:  # Pillow raises many types; OpenCV decides whether an image is broken
        return None


@contextlib.contextmanager
def no_header_warnings() -> Iterator[None]:
    """Silence Pillow's warnings about large sizes, which OpenCV can read, and about partly invalid EXIF data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def image_sizes(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    """Return the height and width in px of images after the EXIF rotation; None for unreadable images."""
    with no_header_warnings(), ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(_image_size, paths))


def _image_size(path: Path) -> tuple[int, int] | None:
    header = read_header(path)
    if header is not None:
        return header.upright_size
    try:
        height, width = read_image(path).shape[:2]
    except BrokenImage:
        return None
    return height, width
