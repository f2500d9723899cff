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
from yolox_jax.data.unchanged import array_size, decode_unchanged

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats whose headers contain the size and orientation that OpenCV decodes to."""
_NUM_THREADS = 8
_MAX_ARRAY_HEADER = 4096
"""Bytes; the header of an image as .npy takes 128."""


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
        return _array_header(image)


def _array_header(image: Path | bytes) -> Header | None:
    try:
        if isinstance(image, bytes):
            size = array_size(image)
        else:
            with image.open("rb") as file:
                size = array_size(file.read(_MAX_ARRAY_HEADER))
    except (OSError, ValueError):
        return None
    return size and Header(*size, orientation=1)


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
        try:  # such as a TIFF with more samples a pixel than OpenCV reads
            height, width = decode_unchanged(path.read_bytes()).shape[:2]
        except (OSError, ValueError):
            return None
    return height, width
