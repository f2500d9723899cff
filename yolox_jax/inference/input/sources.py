"""Opens sources of images: files, folders, glob patterns, videos, cameras, streams and URLs."""

import contextlib
import glob
import logging
import os
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from yolox_jax.config import ConfigError
from yolox_jax.data.image_formats import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.inference.input.captures import frame_rate, open_capture, read_frames
from yolox_jax.inference.input.frames import Frame, Frames
from yolox_jax.inference.input.image_files import (
    CONVERT,
    VIDEO_SUFFIXES,
    Files,
    image_frames,
    list_files,
    warn_of_others,
)
from yolox_jax.inference.input.urls import STREAM_SCHEMES, check_scheme, fetch_image, is_url, url_suffix
from yolox_jax.inference.input.videos import DEFAULT_RATE, open_video
from yolox_jax.inference.picture_files import can_write

SUPPORTED_SOURCES = (
    f"an image ({', '.join(IMAGE_SUFFIXES)}), a folder of images, a pattern such as 'photos/*.jpg', a video "
    f"({', '.join(VIDEO_SUFFIXES)}), the number of a camera, or the URL of an image, video or stream (rtsp://...)"
)

_NOT_IN_NAMES = '\\:*?"<>|'
"""Characters that file names on Windows cannot contain."""

logger = logging.getLogger(__name__)


def open_frames(source: str | os.PathLike[str] | int) -> Frames:
    """Open a source of images.

    The frame of an unreadable image has an error in place of pixels. If a video is truncated, its readable frames are
    returned and a warning is logged. A warning also says which files of a folder are left out.

    Args:
        source: an image, a folder of images, a glob pattern, a video, the number of a camera (an int or digits), or the
            URL of an image, video or stream.

    Raises:
        ConfigError: the source does not exist, holds no images, or cannot be opened. The frames raise it if reading a
            video, camera or stream fails.
        BrokenImage: the URL of an image cannot be fetched.
    """
    if isinstance(source, int) or _is_camera(source):
        return _live(int(str(source)), f"camera {source}")
    text = str(source)
    if is_url(text):
        return _open_url(text)
    path = Path(source)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return open_video(path)
    files = _list_images(source)
    if files.videos:
        files.others.extend(files.videos)
    warn_of_others(path, files)
    if not files.images:
        raise _no_images(path, files)
    return _images(files.images)


def open_all(source: str) -> list[Frames]:
    """Open a source as `open_frames` does, and in a folder or glob pattern also its videos, each as its own source.

    Raises:
        ConfigError, BrokenImage: as `open_frames`.
    """
    path = Path(source)
    if _is_camera(source) or is_url(source) or not (path.is_dir() or _is_pattern(path)):
        return [open_frames(source)]
    files = _list_images(source)
    warn_of_others(path, files)
    if not files.images and not files.videos:
        raise _no_images(path, files)
    with contextlib.ExitStack() as opened:
        sources = [_images(files.images)] if files.images else []
        for video in files.videos:
            sources.append(open_video(video))
            opened.callback(sources[-1].close)
        opened.pop_all()
    return sources


def as_network_takes(source: Frames, pixels: PixelFormat) -> Frames:
    """Return a source whose image files are read in the format of a network. No frame may have been taken yet.

    Raises:
        ConfigError: the frames of a video, camera or stream, which are colours, cannot have this format.
    """
    if pixels == BGR8:
        return source
    if source.rate is None and source.paths:
        return source._replace(frames=image_frames(source.paths, pixels))
    if pixels.channels not in (1, 3):
        source.close()
        raise ConfigError(
            f"{source.name or 'the source'} has colours, but the network takes images with {pixels}. Pass image files"
        )
    return source


def is_endless(source: str | os.PathLike[str] | int) -> bool:
    """Whether a source is a camera or a stream. That an http:// URL is an image shows only when it is fetched."""
    return _is_camera(source) or (is_url(source) and url_suffix(str(source)) not in VIDEO_SUFFIXES)


def holds_several(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a folder, a glob pattern or a video, rather than one image."""
    if is_url(source):
        return url_suffix(str(source)) in VIDEO_SUFFIXES
    path = Path(source)
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES or _is_pattern(path)


def _is_camera(source: str | os.PathLike[str] | int) -> bool:
    text = str(source)
    return isinstance(source, int) or (text.isdecimal() and not Path(text).exists())


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _list_images(source: str | os.PathLike[str]) -> Files:
    if not str(source):
        raise ConfigError(f"the source is empty. Pass {SUPPORTED_SOURCES}")
    path = Path(source)
    if not path.exists():
        check_scheme(source)
    if not path.exists() and not _is_pattern(path):
        raise ConfigError(f"{path}: no such file or folder. Pass {SUPPORTED_SOURCES}")
    files = list_files(path)
    if path.is_file() and files.others:
        is_image = path.suffix.lower() in UNREADABLE_SUFFIXES
        raise ConfigError(f"{path}: {CONVERT if is_image else f'unsupported format. Pass {SUPPORTED_SOURCES}'}")
    return files


def _images(paths: list[Path]) -> Frames:
    return Frames(image_frames(paths), len(paths), paths=tuple(paths))


def _no_images(path: Path, files: Files) -> ConfigError:
    found = f"no image matches {path}" if _is_pattern(path) else f"the folder {path} contains no images"
    left_out = f". Left out: {files.left_out()}" if files.left_out() else ""
    return ConfigError(f"{found} ({', '.join(IMAGE_SUFFIXES)}){left_out}")


def _open_url(url: str) -> Frames:
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "image"
    name = "".join(letter if letter.isprintable() and letter not in _NOT_IN_NAMES else "_" for letter in name)
    image = fetch_image(url)
    if image is not None:
        if not can_write(Path(name).suffix):
            name += ".jpg"

        def frames() -> Generator[Frame, None, None]:
            yield Frame(name, image, url=url)

        return Frames(frames(), 1, name)
    if url_suffix(url) in VIDEO_SUFFIXES:
        video = open_video(url)
        if video.total is not None:
            return video
        video.close()  # without an end, such as a live transport stream
    return _live(url, url)


def _live(device: int | str, name: str) -> Frames:
    capture = open_capture(device)
    if capture is None:
        hint = (
            "Check that it is connected and not in use by another program"
            if isinstance(device, int)
            else f"Check the URL, and that the server is running. Streams start with {', '.join(STREAM_SCHEMES)}"
        )
        raise ConfigError(f"{name} cannot be opened. {hint}")
    label = "".join(letter if letter.isalnum() else "_" for letter in name)
    frames = _live_frames(capture, name, label)
    return Frames(frames, None, label, is_live=True, rate=frame_rate(capture) or DEFAULT_RATE, capture=capture)


def _live_frames(capture: Any, name: str, label: str) -> Generator[Frame, None, None]:
    """Yield the newest frame each time, and drop those that arrived in between."""
    num_taken = last = 0
    try:
        with contextlib.closing(read_frames(capture, name, newest_only=True)) as frames:
            for last, image, _ in frames:
                num_taken += 1
                yield Frame(f"{label}_{last:06d}", image, number=last)
        logger.warning("%s has no more frames", name)
    finally:
        if last + 1 > num_taken > 0:
            logger.info("%s: dropped %d frames that arrived faster than they were taken", name, last + 1 - num_taken)
