"""Images at http:// and https:// URLs, and which URLs are streams instead."""

import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import ConfigError
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
_MISSING = (404, 410)
"""Answers of servers that do not have a file."""
_NOT_IMAGES = ("multipart", "video", "audio")
"""Content types of streams; cameras send Motion JPEG as multipart/x-mixed-replace."""
_RESERVED = "%/:=&?~#+!$,;'@()*[]"
"""Characters of a path or query that are sent as they are."""
_CHUNK = 2**18


def is_url(source: object) -> bool:
    """Whether a source is the URL of an image, video or stream."""
    return isinstance(source, str) and source.lower().startswith(STREAM_SCHEMES)


def check_scheme(source: object) -> None:
    """Check that a source that does not exist is not a URL that cannot be read.

    Raises:
        ConfigError: its scheme is not supported, or it is a URL in a `Path`.
    """
    text = str(source)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", text):  # one letter is a drive of Windows
        return
    if not isinstance(source, str) and text.lower().startswith(("http:/", "https:/")):
        raise ConfigError(f"{text} is a URL in a Path, which removes one of its slashes. Pass it as a string")
    raise ConfigError(
        f"{text[:100]}: URLs of this kind are not supported. Pass an http:// or https:// URL, or download the file and "
        "pass its path"
    )


def url_suffix(url: str) -> str:
    """The suffix of the path of a URL, in lower case: `.jpg` for `https://host/a.JPG?size=2`."""
    return PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()


def fetch_image(url: str) -> UInt8[np.ndarray, "H W 3"] | None:
    """Fetch the image at a URL as 8-bit BGR; None if it is a video or stream, or no http:// or https:// URL.

    The content type that the server sends decides, so that the URL of a camera may have any suffix.

    Raises:
        BrokenImage: the server has no such file, or sends a web page or an image that is damaged or too large; or a URL
            with the suffix of an image cannot be fetched or is not an image.
    """
    suffix = url_suffix(url)
    if not url.lower().startswith(("http://", "https://")) or suffix in STREAM_SUFFIXES:
        return None
    try:
        content = _fetch(url, is_named_as_image=suffix in IMAGE_SUFFIXES)
    except BrokenImage:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        if suffix not in IMAGE_SUFFIXES and getattr(error, "code", None) not in _MISSING:
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
    parts = urlsplit(url)
    as_ascii = parts._replace(path=quote(parts.path, _RESERVED), query=quote(parts.query, _RESERVED)).geturl()
    request = urllib.request.Request(as_ascii, headers={"User-Agent": "yolox-jax", "Accept": "image/*, */*;q=0.5"})
    end = time.monotonic() + MAX_SECONDS
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        kind = response.headers.get_content_type()
        if kind in ("text/html", "application/xhtml+xml"):
            raise BrokenImage(url, "is a web page; use the URL of the image or video itself")
        if kind.startswith(_NOT_IMAGES) or not (kind.startswith("image/") or is_named_as_image):
            return None
        chunks, size = [], 0
        while chunk := response.read1(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise BrokenImage(url, f"has more than {MAX_BYTES >> 20} MiB; download the file first")
            if time.monotonic() > end:
                raise BrokenImage(url, f"was not received within {MAX_SECONDS:g} s; download the file first")
        return b"".join(chunks)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return " ".join(f"the server answered {error.code} {error.reason}".split())
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
