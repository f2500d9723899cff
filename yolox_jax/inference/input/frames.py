"""Images from files, folders, glob patterns, videos, cameras and streams, one after another."""

import collections
import contextlib
import glob
import itertools
import logging
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import ConfigError
from yolox_jax.data.image import BrokenImage, read_image
from yolox_jax.inference.input.captures import open_capture, read_frames

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
STREAM_SCHEMES = ("rtsp://", "rtmp://", "http://", "https://", "udp://", "tcp://")
SUPPORTED_SOURCES = (
    f"an image ({', '.join(IMAGE_SUFFIXES)}), a folder of images, a pattern such as 'photos/*.jpg', a video "
    f"({', '.join(VIDEO_SUFFIXES)}), the number of a camera, or the URL of a stream (rtsp://...)"
)
DEFAULT_RATE = 25.0
"""Frames per second of a video or camera that does not report its rate."""
HIGHEST_RATE = 1000.0
"""Anything above is not a frame rate: some streams report the ticks of their clock, often 90,000."""
NUM_READERS = 4
"""Threads that decode image files."""
READ_AHEAD = 16
"""Image files that are decoded before they are needed."""

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """An image and its name."""

    name: str
    """File name of an image. A frame of a video is named after the video and its number: `street_000012`."""
    image: UInt8[np.ndarray, "H W 3"] | None
    """BGR; None if the file cannot be read."""
    path: Path | None = None
    """The image or video file."""
    error: str | None = None
    """Why the file cannot be read."""
    number: int | None = None
    """Index of the frame in a video, camera or stream, from 0."""
    time_s: float | None = None
    """Seconds since the start of the video."""


class Frames(NamedTuple):
    """A source of images. Close it to end its threads and to release the video or camera."""

    frames: Generator[Frame, None, None]
    total: int | None
    """Number of images, if known. The header of a video may be wrong."""
    name: str = ""
    """Name of a video, camera or stream, suitable for a file."""
    paths: tuple[Path, ...] = ()
    """The files that are read."""
    is_live: bool = False
    """Whether this is a camera or stream: frames that arrive faster than they are taken are dropped."""
    rate: float | None = None
    """Frames per second of a video, camera or stream; None for image files."""
    capture: Any = None
    """The `cv2.VideoCapture` of a video, camera or stream."""

    def close(self) -> None:
        """End the threads and release the video or camera, also before the first frame."""
        self.frames.close()
        if self.capture is not None:
            self.capture.release()


def open_frames(source: str | Path | int) -> Frames:
    """Open a source of images.

    The frame of an unreadable image has an error in place of pixels. If a video is truncated, its readable frames are
    returned and a warning is logged.

    Args:
        source: an image, a folder of images, a glob pattern, a video, the number of a camera (an int or digits), or the
            URL of a stream.

    Raises:
        ConfigError: the source does not exist, holds no images, or cannot be opened. The frames raise it if reading a
            video, camera or stream fails.
    """
    text = str(source)
    if _is_camera(source):
        return _live(int(text), f"camera {text}")
    if text.startswith(STREAM_SCHEMES):
        return _live(text, text)
    path = Path(text)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return _video(path)
    paths = find_images(path)
    return Frames(_images(paths), len(paths), paths=tuple(paths))


def is_endless(source: str | Path | int) -> bool:
    """Whether a source is a camera or a stream."""
    return _is_camera(source) or str(source).startswith(STREAM_SCHEMES)


def _is_camera(source: str | Path | int) -> bool:
    text = str(source)
    return isinstance(source, int) or (text.isdecimal() and not Path(text).exists())


def holds_several(source: str | Path) -> bool:
    """Whether a source is a folder, a glob pattern or a video, rather than one image."""
    path = Path(source)
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES or (glob.has_magic(str(source)) and not path.exists())


def find_images(source: Path) -> list[Path]:
    """List the image files of a path: the file itself, those in the folder, or those that match the glob pattern.

    Raises:
        ConfigError: there are none.
    """
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if _is_image_file(path))
        if not paths:
            raise ConfigError(f"the folder {source} contains no images ({', '.join(IMAGE_SUFFIXES)})")
        return paths
    if source.exists():
        if _is_image_file(source):
            return [source]
        raise ConfigError(f"{source} has an unsupported format. Pass {SUPPORTED_SOURCES}")
    if glob.has_magic(str(source)):
        paths = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
        paths = [path for path in paths if _is_image_file(path)]
        if not paths:
            raise ConfigError(f"no image matches {source}")
        return paths
    raise ConfigError(f"{source}: no such file or folder. Pass {SUPPORTED_SOURCES}")


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _images(paths: list[Path]) -> Generator[Frame, None, None]:
    pending: collections.deque[tuple[Path, Future[np.ndarray]]] = collections.deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(NUM_READERS) as pool:
        try:
            while True:
                for path in itertools.islice(remaining, READ_AHEAD - len(pending)):
                    pending.append((path, pool.submit(read_image, path)))
                if not pending:
                    return
                path, future = pending.popleft()
                try:
                    yield Frame(path.name, future.result(), path)
                except BrokenImage as error:
                    yield Frame(path.name, None, path, error.why)
        finally:
            pool.shutdown(cancel_futures=True)


def _video(path: Path) -> Frames:
    capture = open_capture(str(path))
    if capture is None:
        raise ConfigError(f"{path} cannot be opened as a video: it is damaged, truncated, or has an unknown codec")
    count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), _rate(capture)
    frames = _video_frames(capture, path, count, rate)
    return Frames(frames, count if count > 0 else None, path.stem, (path,), rate=rate or DEFAULT_RATE, capture=capture)


def _rate(capture: Any) -> float | None:
    rate: float = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= HIGHEST_RATE else None


def _video_frames(capture: Any, path: Path, count: int, rate: float | None) -> Generator[Frame, None, None]:
    num_read = 0
    with contextlib.closing(read_frames(capture, str(path))) as frames:
        for number, image in frames:
            time_s = None if rate is None else number / rate
            yield Frame(f"{path.stem}_{number:06d}", image, path, number=number, time_s=time_s)
            num_read = number + 1
    if num_read < count - 1:  # headers are often one off
        logger.warning("%s ends early, after frame %d of %d; the rest is missing", path, num_read, count)


def _live(device: int | str, name: str) -> Frames:
    capture = open_capture(device)
    if capture is None:
        hint = (
            "Check that it is connected and not in use by another program"
            if isinstance(device, int)
            else "Check the URL, and that the server is running"
        )
        raise ConfigError(f"{name} cannot be opened. {hint}")
    label = "".join(letter if letter.isalnum() else "_" for letter in name)
    frames = _live_frames(capture, name, label)
    return Frames(frames, None, label, is_live=True, rate=_rate(capture) or DEFAULT_RATE, capture=capture)


def _live_frames(capture: Any, name: str, label: str) -> Generator[Frame, None, None]:
    """Yield the newest frame each time, and drop those that arrived in between."""
    num_taken = last = 0
    try:
        with contextlib.closing(read_frames(capture, name, newest_only=True)) as frames:
            for last, image in frames:
                num_taken += 1
                yield Frame(f"{label}_{last:06d}", image, number=last)
        logger.warning("%s has no more frames", name)
    finally:
        if last + 1 > num_taken > 0:
            logger.info("%s: dropped %d frames that arrived faster than they were taken", name, last + 1 - num_taken)
