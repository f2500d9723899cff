"""Finds images that are damaged inside: decoders complain about them on stderr, but return a picture."""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import UInt

GREY = 128
"""Value of all channels where libjpeg has no data."""
_PATCH_PX = 4
_ZEROS = bytes(256)
"""A run that compressed data hardly has; metadata may have it."""
_STDERR = 2
_MESSAGE = re.compile(
    rb"(?:Corrupt JPEG data: |Premature end of JPEG file|Inconsistent progression sequence|Invalid SOS parameters"
    rb"|libpng (?:error|warning): |\[(?:ERROR| WARN):\d+@[\d.]+\] global )[^\n]*\n?"
)
_MAX_KNOWN = 1_000_000
"""Number of images to remember, which limits memory."""
_lock = threading.Lock()
_known: dict[tuple[str, int], str] = {}


@contextlib.contextmanager
def decoder_messages() -> Iterator[list[str]]:
    """Collect what image decoders write to stderr; the list is filled at the end of the context.

    They write to the file descriptor, which all threads share. Anything else that is written meanwhile is passed on
    afterwards.
    """
    messages: list[str] = []
    with tempfile.TemporaryFile() as file:
        try:
            stderr = os.dup(_STDERR)
        except OSError:  # closed
            yield messages
            return
        os.dup2(file.fileno(), _STDERR)
        try:
            yield messages
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            file.seek(0)
            written = file.read()
            messages += [match[0].decode(errors="replace").strip() for match in _MESSAGE.finditer(written)]
            with contextlib.suppress(OSError):
                os.write(_STDERR, _MESSAGE.sub(b"", written))


def complaint(content: bytes) -> str:
    """Decode an image, and return the first message of the decoder; empty if it has none."""
    with decoder_messages() as messages:
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return messages[0] if messages else ""


def known_damage(content: bytes, name: str) -> str:
    """Return what `complaint_of_suspect` found at an earlier read of an image: decoding it again would print it."""
    return _known.get((name, len(content)), "")


def complaint_of_suspect(content: bytes, image: UInt[np.ndarray, "h w C"], reduction: int, name: str) -> str:
    """Return what libjpeg complains about in a JPEG that looks damaged; empty if it does not, or looks whole.

    A JPEG looks damaged if a block of zeros is in it, as after an incomplete copy, or if it is grey at a corner:
    libjpeg fills what it has no data for with grey, up to the end. Such an image is decoded once more, at its first
    read only. Looking takes less than a hundredth of the time of decoding.

    Args:
        content: of the file.
        image: as decoded, at the scale 1 / `reduction`.
        reduction: 1, 2, 4 or 8.
        name: of the image, to recognise it.
    """
    if _ZEROS not in content and not _has_grey_corner(image, max(1, _PATCH_PX // reduction)):
        return ""
    key = name, len(content)
    why = _known.get(key)
    if why is None:
        with _lock:
            # Twice, because another thread may have decoded a damaged image meanwhile.
            why = complaint(content) and complaint(content)
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[key] = why
    return why


def _has_grey_corner(image: UInt[np.ndarray, "h w C"], side: int) -> bool:
    # The end of the data is at any corner, depending on the EXIF orientation. One px of each suffices for most images.
    return any(
        image[row, column, 0] == GREY and bool((image[rows, columns] == GREY).all())
        for row, rows in ((-1, slice(-side, None)), (0, slice(side)))
        for column, columns in ((-1, slice(-side, None)), (0, slice(side)))
    )
