"""Images from files, folders, patterns, videos, cameras and streams, one after another."""

import collections
import contextlib
import glob
import itertools
import logging
import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import ConfigError
from yolox_jax.data.image import BrokenImage, read_image

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
STREAM_STARTS = ("rtsp://", "rtmp://", "http://", "https://", "udp://", "tcp://")
WHAT_IS_READ = (
    f"an image ({', '.join(IMAGE_ENDINGS)}), a folder of images, a pattern such as 'photos/*.jpg', a video "
    f"({', '.join(VIDEO_ENDINGS)}), the number of a camera, or the address of a stream (rtsp://...)"
)
USUAL_RATE = 25.0
"""Frames a second where a video or camera does not tell."""
HIGHEST_RATE = 1000.0
"""Above it a rate is none: streams tell the ticks of their clock, often 90,000."""
READERS = 4
"""Threads that decode images."""
AHEAD = 16
"""Images or frames that are decoded before they are asked for."""

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """An image with what to call it."""

    name: str
    """File name of an image; of a frame of a video that of the video and its number: `street_000012`."""
    image: UInt8[np.ndarray, "H W 3"] | None
    """BGR; None where the file cannot be read."""
    path: Path | None = None
    """The file of the image or the video."""
    error: str | None = None
    """Why it cannot be read."""
    number: int | None = None
    """Of a frame of a video, camera or stream, from 0 on."""
    time_s: float | None = None
    """Since the start of the video."""


class Frames(NamedTuple):
    """A source of images. Closing it ends its threads and gives a camera back; `contextlib.closing` does."""

    frames: Iterator[Frame]
    total: int | None
    """How many there are, where that is known: a video's header may be wrong."""
    name: str = ""
    """Of a video, camera or stream, fit for a file."""
    paths: tuple[Path, ...] = ()
    """The files that are read."""
    is_live: bool = False
    """A camera or stream: frames that nobody took in time are dropped."""
    rate: float | None = None
    """Frames a second of a video, camera or stream; None for image files."""

    def close(self) -> None:
        """End its threads, and give a camera back."""
        self.frames.close()  # type: ignore[attr-defined]


def open_frames(source: str | Path | int) -> Frames:
    """Open whatever holds images.

    Images that cannot be read are given without pixels, with the error; a video that breaks off ends there with a
    warning.

    Args:
        source: an image, a folder of images, a pattern, a video, the number of a camera (an int or digits), or the
            address of a stream.

    Raises:
        ConfigError: there is nothing of that name, no image in it, or the video, camera or stream cannot be opened.
    """
    text = str(source)
    if _is_camera(source):
        return _live(int(text), f"camera {text}")
    if text.startswith(STREAM_STARTS):
        return _live(text, text)
    path = Path(text)
    if path.is_file() and path.suffix.lower() in VIDEO_ENDINGS:
        return _video(path)
    paths = find_images(path)
    return Frames(_images(paths), len(paths), paths=tuple(paths))


def is_endless(source: str | Path | int) -> bool:
    """Whether a source is a camera or a stream."""
    return _is_camera(source) or str(source).startswith(STREAM_STARTS)


def _is_camera(source: str | Path | int) -> bool:
    """A file or folder may be named with digits too."""
    text = str(source)
    return isinstance(source, int) or (text.isdecimal() and not Path(text).exists())


def holds_several(source: str | Path) -> bool:
    """Whether a source is a folder, a pattern or a video, rather than one image."""
    path = Path(source)
    return path.is_dir() or path.suffix.lower() in VIDEO_ENDINGS or (glob.has_magic(str(source)) and not path.exists())


def find_images(source: Path) -> list[Path]:
    """The image files that a path stands for: itself, those in a folder, or those that a pattern matches.

    Raises:
        ConfigError: there are none.
    """
    if source.is_dir():
        found = sorted(path for path in source.iterdir() if _is_image_file(path))
        if not found:
            raise ConfigError(f"the folder {source} holds no images ({', '.join(IMAGE_ENDINGS)})")
        return found
    if source.exists():
        if _is_image_file(source):
            return [source]
        raise ConfigError(f"{source} is nothing that can be read: give {WHAT_IS_READ}")
    if glob.has_magic(str(source)):
        found = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
        found = [path for path in found if _is_image_file(path)]
        if not found:
            raise ConfigError(f"no image matches {source}")
        return found
    raise ConfigError(f"{source}: there is no such file or folder. Give {WHAT_IS_READ}")


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and path.is_file()


def _images(paths: list[Path]) -> Iterator[Frame]:
    """Read by threads, a few ahead."""
    reading: collections.deque[tuple[Path, Future[np.ndarray]]] = collections.deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(READERS) as pool:
        try:
            while True:
                for path in itertools.islice(remaining, AHEAD - len(reading)):
                    reading.append((path, pool.submit(read_image, path)))
                if not reading:
                    return
                path, future = reading.popleft()
                try:
                    yield Frame(path.name, future.result(), path)
                except BrokenImage as error:
                    yield Frame(path.name, None, path, error.why)
        finally:
            pool.shutdown(cancel_futures=True)


def _video(path: Path) -> Frames:
    capture = _opened(str(path))
    if capture is None:
        raise ConfigError(f"{path} cannot be opened as a video: it is damaged, ends early, or has an unknown codec")
    count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), _rate(capture)
    frames = _video_frames(capture, path, count, rate)
    return Frames(frames, count if count > 0 else None, path.stem, (path,), rate=rate or USUAL_RATE)


def _rate(capture: Any) -> float | None:
    """Frames a second, where the source tells."""
    rate: float = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= HIGHEST_RATE else None


def _video_frames(capture: Any, path: Path, count: int, rate: float | None) -> Iterator[Frame]:
    waiting: queue.Queue[np.ndarray | None] = queue.Queue(AHEAD)
    stopped = threading.Event()

    def read() -> None:
        is_read = True
        while is_read and not stopped.is_set():
            is_read, image = capture.read()
            _put(waiting, image if is_read else None, stopped)

    thread = threading.Thread(target=read, name=f"reads {path.name}", daemon=True)
    thread.start()
    try:
        for number in itertools.count():
            image = waiting.get()
            if image is None:
                # Headers are often one off.
                if number < count - 1:
                    logger.warning("%s breaks off after frame %d of %d: the rest is missing", path, number, count)
                return
            time_s = None if rate is None else number / rate
            yield Frame(f"{path.stem}_{number:06d}", image, path, number=number, time_s=time_s)
    finally:
        stopped.set()
        thread.join()
        capture.release()


def _put(waiting: queue.Queue, item: object, stopped: threading.Event) -> None:
    """Wait for room, but not for a reader that is gone."""
    while not stopped.is_set():
        with contextlib.suppress(queue.Full):
            waiting.put(item, timeout=0.1)
            return


def _live(device: int | str, name: str) -> Frames:
    capture = _opened(device)
    if capture is None:
        way_out = (
            "is it connected, and free?" if isinstance(device, int) else "is the address right, and its server up?"
        )
        raise ConfigError(f"{name} cannot be opened: {way_out}")
    label = "".join(letter if letter.isalnum() else "_" for letter in name)
    frames = _live_frames(capture, name, label)
    return Frames(frames, None, label, is_live=True, rate=_rate(capture) or USUAL_RATE)


def _live_frames(capture: Any, name: str, label: str) -> Iterator[Frame]:
    """The newest frame each time; what came in between is dropped."""
    newest: collections.deque[tuple[int, np.ndarray]] = collections.deque(maxlen=1)
    arrived, stopped = threading.Event(), threading.Event()

    def read() -> None:
        for number in itertools.count():
            is_read, image = capture.read()
            if stopped.is_set() or not is_read:
                break
            newest.append((number, image))
            arrived.set()
        stopped.set()
        arrived.set()

    thread = threading.Thread(target=read, name=f"reads {name}", daemon=True)
    thread.start()
    taken = last = 0
    try:
        while True:
            arrived.wait()
            arrived.clear()
            if not newest:
                if stopped.is_set():
                    logger.warning("%s gives no more frames", name)
                    return
                continue
            last, image = newest.pop()
            taken += 1
            yield Frame(f"{label}_{last:06d}", image, number=last)
    finally:
        stopped.set()
        thread.join()
        capture.release()
        if last + 1 > taken > 0:
            logger.info("%s: %d frames were dropped, as they came faster than they were taken", name, last + 1 - taken)


def _opened(source: str | int) -> Any:
    """OpenCV's reader, or None; without what OpenCV and FFmpeg print."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(source)
        return capture if capture.isOpened() else None
    finally:
        cv2.utils.logging.setLogLevel(level)
