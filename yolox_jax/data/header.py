"""Sizes of images from their headers, without decoding them."""

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
"""Those whose headers tell the size and the orientation that OpenCV decodes to."""
_NUM_THREADS = 8


class Header(NamedTuple):
    """Of an image as it is stored."""

    height: int
    width: int
    orientation: int
    """How EXIF says to turn it, 1 to 8; 1 is not at all."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in px after turning."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(image: Path | bytes) -> Header | None:
    """The header of an image file, or of its content; None where it does not tell, and only decoding does."""
    try:
        with PIL.Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=_FORMATS) as opened:
            # Not opened.getexif(): it decodes a PNG that has none, and heeds XMP, which OpenCV does not.
            exif = PIL.Image.Exif()
            exif.load(opened.info.get("exif", b""))
            orientation: Any = exif.get(PIL.ExifTags.Base.Orientation)
            return Header(opened.height, opened.width, orientation if orientation in range(1, 9) else 1)
    except Exception:  # Pillow raises many kinds; whether an image is broken, OpenCV decides
        return None


@contextlib.contextmanager
def no_warnings_of_headers() -> Iterator[None]:
    """Silences Pillow on sizes that OpenCV reads, and on EXIF data of which only a part is sound; for many headers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def image_sizes(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    """Height and width in px of images, turned upright as their EXIF orientation says; None of what cannot be read."""
    with no_warnings_of_headers(), ThreadPoolExecutor(_NUM_THREADS) as pool:
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
