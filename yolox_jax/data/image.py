"""Reads images, and detects broken ones."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt, UInt8

from yolox_jax.data.channels import to_format, to_picture
from yolox_jax.data.damage import complaint_of_suspect, known_damage
from yolox_jax.data.dataset import Record
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.data.unchanged import ARRAY_START, decode_unchanged, is_array_or_tiff

JPEG_START = b"\xff\xd8"

_READ_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_GREY_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


class Pixels(NamedTuple):
    """A loaded image, possibly at a reduced scale."""

    image: UInt[np.ndarray, "h w C"]
    """In the format of its dataset; three channels are BGR."""
    scale: tuple[float, float]
    """Px of this image per px of the full-size image, along x and y."""


class BrokenImage(ValueError):
    """An image file that cannot be used; the message names the file and the reason, and where possible the fix."""

    def __init__(self, path: Path | str, why: str, *, advice: str = "") -> None:
        super().__init__(f"{path}: {why}. {advice}".rstrip())
        self.path = path
        self.why = why


def load_image(record: Record) -> UInt[np.ndarray, "H W C"]:
    """Load the image of a record in the format of its dataset, by default 8-bit BGR, upright.

    That of a tile is cut out of the whole.

    Raises:
        BrokenImage: the file is missing, is not an image, is truncated, has another number of channels, or its size
            differs from the annotations.
    """
    return cut_tile(load_whole(record), record)


def load_whole(record: Record) -> UInt[np.ndarray, "H W C"]:
    """Load the whole image of a record as `load_image` does, even if the record is a tile of it."""
    content = _content(record.path, record.encoded)
    return decode_image(content, record.path, record.pixels, size=record.image_size)


def cut_tile(image: UInt[np.ndarray, "H W C"], record: Record, reduction: int = 1) -> UInt[np.ndarray, "h w C"]:
    """Cut the tile of a record out of its whole image. An image that is no tile is returned as it is.

    Args:
        image: of the whole.
        record: of the tile.
        reduction: of the sides of `image`; it divides the place of the tile.
    """
    if record.tile is None:
        return image
    left, top = record.tile.left // reduction, record.tile.top // reduction
    height, width = -(-record.height // reduction), -(-record.width // reduction)
    # A copy, so that the rest of a large image need not stay in memory.
    return image[top : top + height, left : left + width].copy()


def load_reduced(record: Record, zoom: float) -> Pixels:
    """Load the image of a record at the smallest cheap scale that is enough to show it at `zoom`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, as long as drawing it does not enlarge it, and a tile starts at a
    whole px.

    Raises:
        BrokenImage: as `load_image`.
    """
    content = _content(record.path, record.encoded)
    start = 0 if record.tile is None else math.gcd(record.tile.left, record.tile.top)
    reduction = next(factor for factor in (8, 4, 2, 1) if factor == 1 or (factor * zoom <= 1 and start % factor == 0))
    if not content.startswith(JPEG_START):
        reduction = 1
    image = decode_image(content, record.path, record.pixels, size=record.image_size, reduction=reduction)
    return Pixels(cut_tile(image, record, reduction), (1 / reduction, 1 / reduction))


def read_image(
    path: Path, pixels: PixelFormat = BGR8, *, size: tuple[int, int] | None = None
) -> UInt[np.ndarray, "H W C"]:
    """Read an image, turned upright as its EXIF orientation says.

    Args:
        path: the file, of any format that OpenCV reads, or a .npy array.
        pixels: see `decode_image`.
        size: the height and width that it must have; None accepts any.

    Raises:
        BrokenImage: the file is missing, is not an image, is truncated, or has another size or number of channels.
    """
    return decode_image(_content(path, path.read_bytes), path, pixels, size=size)


def read_picture(path: Path, *, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image of any number of channels as 8-bit BGR to look at; arguments and errors as for `read_image`."""
    content = _content(path, path.read_bytes)
    if not is_array_or_tiff(content):
        return decode_image(content, path, size=size)
    try:
        picture = to_picture(decode_unchanged(content))
    except ValueError as error:
        raise BrokenImage(path, str(error)) from error
    if size is not None and picture.shape[:2] != size:
        raise BrokenImage(path, _size_mismatch(content, picture.shape[:2], size))
    return picture


def _content(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise BrokenImage(path, f"cannot be read ({error.strerror or error})") from error


def decode_image(
    content: bytes,
    path: Path,
    pixels: PixelFormat = BGR8,
    *,
    size: tuple[int, int] | None = None,
    reduction: int = 1,
) -> UInt[np.ndarray, "H W C"]:
    """Decode an image, turned upright as its EXIF orientation says.

    A JPEG that holds a block of zeros, or lacks data so that its end is grey, counts as broken. `yolox-jax data check`
    finds further damage.

    Args:
        content: of an image file.
        path: of the image, for errors.
        pixels: the format to return. As 8-bit BGR, the default, anything but an array can be read, if need be without
            alpha channel, further pages and the lower of 16 bits. Any other format is strict, see `to_format`.
        size: the height and width that it must have at full scale; None accepts any.
        reduction: 1, 2, 4 or 8; the sides are divided by it and rounded up.

    Raises:
        BrokenImage: it is not an image, is truncated, or has another size or number of channels.
    """
    if not content:
        raise BrokenImage(path, "is an empty file")
    # OpenCV only warns about a truncated JPEG, and fills the missing part with grey.
    if _is_truncated(content):
        raise BrokenImage(path, "is truncated: the end of the file is missing")
    if why := known_damage(content, str(path)):
        raise BrokenImage(path, _damaged(why))
    try:
        image = _decode(content, pixels, reduction)
    except ValueError as error:
        raise BrokenImage(path, str(error)) from error
    if content.startswith(JPEG_START) and (why := complaint_of_suspect(content, image, reduction, str(path))):
        raise BrokenImage(path, _damaged(why))
    if size is not None and image.shape[:2] != tuple(-(-side // reduction) for side in size):
        raise BrokenImage(path, _size_mismatch(content, decode_image(content, path, pixels).shape[:2], size))
    return image


def _decode(content: bytes, pixels: PixelFormat, reduction: int) -> UInt[np.ndarray, "H W C"]:
    """Decode an image; the message of a ValueError is phrased to follow its name."""
    if (
        content.startswith(ARRAY_START)
        or (pixels != BGR8 and is_array_or_tiff(content))
        or pixels.channels not in (1, 3)
    ):
        return to_format(decode_unchanged(content), pixels)
    flags = (_GREY_FLAGS if pixels.channels == 1 else _READ_FLAGS)[reduction]
    if pixels != BGR8:
        flags |= cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("is not an image that OpenCV can decode")
    return to_format(image if image.ndim == 3 else image[..., None], pixels)


def _damaged(why: str) -> str:
    return f"is damaged inside ({why})"


def _size_mismatch(content: bytes, actual: tuple[int, int], size: tuple[int, int]) -> str:
    mismatch = (
        f"is {actual[1]}x{actual[0]} px (width x height, after its EXIF orientation) but the annotations say "
        f"{size[1]}x{size[0]}"
    )
    if actual != size[::-1]:
        return mismatch
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if stored is not None and stored.shape[:2] == size:
        return (
            f"{mismatch}, its size before the EXIF rotation. If the boxes fit the image as stored, remove the "
            "orientation tag from the file; otherwise annotate the rotated image"
        )
    return f"{mismatch}, with height and width swapped. Correct them in the annotations"


def _is_truncated(content: bytes) -> bool:
    if content.startswith(JPEG_START):
        return not content.endswith(b"\xff\xd9") and not _has_end_of_jpeg(content)
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content[-64:] and b"IEND\xaeB`\x82" not in content
    return False


def _has_end_of_jpeg(content: bytes) -> bool:
    """Whether an end-of-image marker follows the compressed data: a thumbnail in the header has one of its own."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        if content[position + 1] == 0xDA:  # start of scan; in compressed data FF is never followed by D9
            return content.find(b"\xff\xd9", position) >= 0
        if content[position + 1] == 0xFF:  # fill byte
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False
