"""Images at http:// and https:// URLs, and which URLs are streams instead."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np
from jaxtyping import UInt8

from yolox_jax.data.image import BrokenImage, decode_image
from yolox_jax.data.image_formats import IMAGE_SUFFIXES
from yolox_jax.inference.input.image_files import VIDEO_SUFFIXES

STREAM_SCHEMES = ("rtsp://", "rtmp://", "http://", "https://", "udp://", "tcp://")
STREAM_SUFFIXES = (*VIDEO_SUFFIXES, ".m3u8", ".m3u", ".mpd", ".sdp")
MAX_BYTES = 100 * 2**20
"""Largest image that is fetched."""
TIMEOUT_S = 20.0
"""For connecting and for each part of the answer."""
MAX_SECONDS = 120.0
"""For the whole image."""
_NOT_IMAGES = ("multipart", "video", "audio")
"""Content types of streams; cameras send Motion JPEG as multipart/x-mixed-replace."""
_CHUNK = 2**18


def is_url(source: object) -> bool:
    """Whether a source is the URL of an image, video or stream."""
    return isinstance(source, str) and source.lower().startswith(STREAM_SCHEMES)


def url_suffix(url: str) -> str:
    """The suffix of the path of a URL, in lower case: `.jpg` for `https://host/a.JPG?size=2`."""
    return PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()


def fetch_image(url: str) -> UInt8[np.ndarray, "H W 3"] | None:
    """Fetch the image at a URL as 8-bit BGR; None if it is a video or stream, or no http:// or https:// URL.

    The content type that the server sends decides, so that the URL of a camera may have any suffix.

    Raises:
        BrokenImage: a URL with the suffix of an image cannot be fetched, is too large, or is not an image.
    """
    suffix = url_suffix(url)
    if not url.lower().startswith(("http://", "https://")) or suffix in STREAM_SUFFIXES:
        return None
    try:
        content = _fetch(url, is_named_as_image=suffix in IMAGE_SUFFIXES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, BrokenImage):
            raise
        if suffix not in IMAGE_SUFFIXES:
            return None  # OpenCV may open it: some cameras speak HTTP in their own way
        raise BrokenImage(url, f"cannot be fetched: {_reason(error)}") from error
    if content is None:
        return None
    try:
        return decode_image(content, Path(PurePosixPath(urlsplit(url).path).name))
    except BrokenImage as error:
        raise BrokenImage(url, error.why) from error


def _fetch(url: str, *, is_named_as_image: bool) -> bytes | None:
    """The answer of the server if it is an image."""
    request = urllib.request.Request(url, headers={"User-Agent": "yolox-jax", "Accept": "image/*, */*;q=0.5"})
    end = time.monotonic() + MAX_SECONDS
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        kind = response.headers.get_content_type()
        if kind.startswith(_NOT_IMAGES) or not (kind.startswith("image/") or is_named_as_image):
            return None
        if kind in ("text/html", "application/xhtml+xml"):
            raise BrokenImage(url, "is a web page, not an image; use the URL of the image file itself")
        parts, size = [], 0
        while chunk := response.read1(_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise BrokenImage(url, f"has more than {MAX_BYTES >> 20} MiB; download the file first")
            if time.monotonic() > end:
                raise BrokenImage(url, f"was not received within {MAX_SECONDS:g} s; download the file first")
        return b"".join(parts)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
