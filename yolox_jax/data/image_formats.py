"""The suffixes of image files, by whether OpenCV reads them."""

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
)
"""Suffixes, in lower case, of the formats that OpenCV reads. Its build decides in the end: a file that it cannot decode
is reported when it is loaded."""

UNREADABLE_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf")
"""Suffixes, in lower case, of images that OpenCV does not read."""

ALL_IMAGE_SUFFIXES = (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES)
"""Suffixes of image files in a dataset; a file that cannot be decoded is reported when it is loaded."""
