"""Reads images, and tells broken ones from whole ones."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.data.dataset import Record

JPEG_START = b"\xff\xd8"

_READ_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class Pixels(NamedTuple):
    """An image as it was loaded, perhaps smaller than it is."""

    image: UInt8[np.ndarray, "h w 3"]
    """BGR."""
    scale: tuple[float, float]
    """Px of this image per px of the whole one, along x and y."""


class BrokenImage(ValueError):
    """An image file that cannot be used; the message names it and says why, and where it can, what to do."""

    def __init__(self, path: Path, why: str, *, way_out: str = "") -> None:
        super().__init__(f"{path}: {why}. {way_out}".rstrip())
        self.path = path
        self.why = why


def load_image(record: Record) -> UInt8[np.ndarray, "H W 3"]:
    """The image of a record as 8-bit BGR, upright.

    Raises:
        BrokenImage: the image is missing, is no image, ends early, or has another size than annotated.
    """
    return decode_image(_content(record.path, record.encoded), record.path, size=(record.height, record.width))


def load_reduced(record: Record, zoom: float) -> Pixels:
    """The image of a record to be shown at `zoom` px per px, at a reduced scale where its format makes that cheaper.

    A JPEG is decoded at a half, a quarter or an eighth if that still has a px for each that is shown.

    Raises:
        BrokenImage: as `load_image`.
    """
    content = _content(record.path, record.encoded)
    reduction = next(factor for factor in (8, 4, 2, 1) if factor * zoom <= 1 or factor == 1)
    if not content.startswith(JPEG_START):
        reduction = 1
    image = decode_image(content, record.path, size=(record.height, record.width), reduction=reduction)
    return Pixels(image, (1 / reduction, 1 / reduction))


def read_image(path: Path, *, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Read an image as 8-bit BGR, turned upright as its EXIF orientation says.

    Args:
        path: the file, of any format that OpenCV reads.
        size: height and width it must have, where annotations tell them.

    Raises:
        BrokenImage: the file is missing, is no image, ends early, or has another size.
    """
    return decode_image(_content(path, path.read_bytes), path, size=size)


def _content(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise BrokenImage(path, f"cannot be read ({error.strerror or error})") from error


def decode_image(
    content: bytes, path: Path, *, size: tuple[int, int] | None = None, reduction: int = 1
) -> UInt8[np.ndarray, "H W 3"]:
    """Decode an image as 8-bit BGR, turned upright as its EXIF orientation says.

    Args:
        content: of an image file.
        path: what errors call it.
        size: height and width it must have, where annotations tell them.
        reduction: 1, 2, 4 or 8: sides are divided by it, rounded up.

    Raises:
        BrokenImage: it is no image, ends early, or has another size.
    """
    if not content:
        raise BrokenImage(path, "is an empty file")
    # OpenCV only warns of a JPEG that ends early and fills the rest with grey.
    if _is_truncated(content):
        raise BrokenImage(path, "ends early: the end of the file is missing")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), _READ_FLAGS[reduction])
    except cv2.error:
        image = None
    if image is None:
        raise BrokenImage(path, "is no image that OpenCV can decode")
    if size is not None and image.shape[:2] != tuple(-(-side // reduction) for side in size):
        raise BrokenImage(path, _fault_of_size(content, decode_image(content, path).shape[:2], size))
    return image


def _fault_of_size(content: bytes, found: tuple[int, int], size: tuple[int, int]) -> str:
    fault = (
        f"is {found[1]}x{found[0]} px (width x height, after its EXIF orientation) but annotations say "
        f"{size[1]}x{size[0]}"
    )
    if found != size[::-1]:
        return fault
    unturned = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if unturned is not None and unturned.shape[:2] == size:
        return (
            f"{fault}, its size before the EXIF orientation turns it: remove the orientation tag from the file if the "
            "boxes fit the image as stored, or else annotate the turned image"
        )
    return f"{fault}, with height and width swapped: correct them in the annotations"


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
