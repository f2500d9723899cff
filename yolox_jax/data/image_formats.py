"""The suffixes of image files, by whether they can be read."""

from collections.abc import Collection

ARRAY_SUFFIX = ".npy"
"""Of a NumPy array, an image with any number of channels."""

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".apng",
    ".webp",
    ".bmp",
    ".dib",
    ".tif",
    ".tiff",
    ".gif",
    ".avif",
    ".jp2",
    ".j2k",
    ".ppm",
    ".pgm",
    ".pnm",
    ARRAY_SUFFIX,
)
"""Suffixes, in lower case, of the formats that OpenCV reads, and of arrays. Its build decides in the end: a file that
it cannot decode is reported when it is loaded."""

UNREADABLE_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf")
"""Suffixes, in lower case, of images that OpenCV does not read."""

ALL_IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES)
"""Suffixes of image files in a dataset; a file that cannot be decoded is reported when it is loaded."""


def without_copies(names: Collection[str]) -> list[str]:
    """Leave out arrays beside an image of the same name: some programs keep decoded images there.

    >>> without_copies(["street.jpg", "street.npy", "field.npy"])
    ['street.jpg', 'field.npy']

    Args:
        names: of image files, with or without their folders.
    """
    if not any(name.lower().endswith(ARRAY_SUFFIX) for name in names):
        return list(names)
    images = {name.rpartition(".")[0] for name in names if not name.lower().endswith(ARRAY_SUFFIX)}
    return [name for name in names if not name.lower().endswith(ARRAY_SUFFIX) or name.rpartition(".")[0] not in images]
