"""Writes pictures in the format of their suffix."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

_ENCODED_AS = {".jfif": ".jpg", ".mpo": ".jpg", ".j2k": ".jp2"}
"""Suffixes that OpenCV reads but does not write under that name."""
_GREY_ONLY = (".pgm", ".pbm")


class PictureError(ValueError):
    """A picture cannot be written in the format of its suffix."""


def can_write(suffix: str) -> bool:
    """Whether colour pictures can be written in the format of a suffix, such as `.jpg`."""
    suffix = suffix.lower()
    return bool(suffix) and suffix not in _GREY_ONLY and cv2.haveImageWriter(f"x{_ENCODED_AS.get(suffix, suffix)}")


def encode_picture(suffix: str, image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Encode a BGR image in the format of a suffix, such as `.jpg`.

    Raises:
        PictureError: OpenCV does not write this format, or the image is too large for it.
    """
    suffix = suffix.lower()
    if not can_write(suffix):
        raise PictureError(f"pictures cannot be written as {suffix or 'a file without a suffix'}; use .jpg or .png")
    done, encoded = cv2.imencode(_ENCODED_AS.get(suffix, suffix), image)
    if not done:
        raise PictureError(f"its format cannot hold {image.shape[1]}x{image.shape[0]} px; use .png")
    return encoded.tobytes()


def write_picture(path: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write a BGR image in the format of its suffix.

    Raises:
        PictureError: as `encode_picture`; the message names the file.
        OSError: the file cannot be written. `cv2.imwrite` would not say why.
    """
    try:
        encoded = encode_picture(path.suffix, image)
    except PictureError as error:
        raise PictureError(f"{path} is not written: {error}") from error
    path.write_bytes(encoded)
