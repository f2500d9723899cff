"""Reads the size of a JPEG or PNG from its first bytes."""

import struct

HEADER_BYTES = 1 << 16
"""Enough for nearly all headers with their EXIF data and thumbnail."""

_FRAME_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three start tables
_ORIENTATION_TAG = 0x0112


def image_size(head: bytes) -> tuple[int, int] | None:
    """Height and width in px of an image, turned upright as its EXIF orientation says.

    Args:
        head: the first bytes of the file.

    Returns:
        None where these bytes do not tell: another format, or a long header.
    """
    try:
        if head.startswith(b"\xff\xd8"):
            return _jpeg_size(head)
        # A PNG may be turned by a chunk anywhere in it; those that have it are few.
        if head.startswith(b"\x89PNG") and b"eXIf" not in head:
            width, height = struct.unpack_from(">II", head, 16)
            return height, width
    except struct.error:  # the bytes end early
        pass
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    position, turned = 2, False
    while head[position : position + 1] == b"\xff":
        marker, length = struct.unpack_from(">xBH", head, position)
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", head, position + 5)
            return (width, height) if turned else (height, width)
        if marker == 0xE1 and head[position + 4 : position + 10] == b"Exif\0\0":
            # Orientations 5 to 8 swap height and width.
            turned = _orientation(head[position + 10 : position + 2 + length]) >= 5
        position += 2 + length
    return None


def _orientation(tiff: bytes) -> int:
    """The orientation, 1 to 8, in the first directory of EXIF data; 1 where there is none."""
    order = "<" if tiff.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for entry in range(count):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            return int(value)
    return 1
