"""Reads videos, cameras and streams through OpenCV, in a thread."""

import collections
import contextlib
import itertools
import os
import threading
from collections.abc import Generator, Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import ConfigError

HIGHEST_RATE = 1000.0
"""Anything above is not a frame rate: some streams report the ticks of their clock, often 90,000."""
READ_AHEAD = 16
"""Frames of a video that are decoded before they are needed."""
FFMPEG_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
"""Environment variable that OpenCV reads when it opens a capture."""
FFMPEG_SILENT = "-8"
_OPEN_LOCK = threading.Lock()


def open_capture(source: str | int) -> Any:
    """Open a file, the number of a camera or the URL of a stream, without the messages of OpenCV and FFmpeg.

    Returns:
        A `cv2.VideoCapture`, or None if it cannot be opened.
    """
    with silent_opencv():
        capture = cv2.VideoCapture(source)
        return capture if capture.isOpened() else None


def frame_rate(capture: Any) -> float | None:
    """Frames per second that a capture reports, if it is a rate."""
    rate: float = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= HIGHEST_RATE else None


@contextlib.contextmanager
def silent_opencv() -> Iterator[None]:
    """Open captures and writers in this context without the messages of OpenCV and FFmpeg."""
    with _OPEN_LOCK, _silent():  # one at a time, because these settings belong to the process
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    level = cv2.utils.logging.getLogLevel()
    is_set = FFMPEG_LOG_LEVEL in os.environ
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault(FFMPEG_LOG_LEVEL, FFMPEG_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        if not is_set:
            os.environ.pop(FFMPEG_LOG_LEVEL, None)


def read_frames(
    capture: Any, name: str, *, newest_only: bool = False
) -> Generator[tuple[int, UInt8[np.ndarray, "H W 3"], float], None, None]:
    """Read frames in a thread until the capture has no more. Releases the capture at the end, and when closed.

    Args:
        capture: from `open_capture`.
        name: the source, for error messages.
        newest_only: drop frames that arrive faster than they are taken. Without it, the thread waits once it is
            `READ_AHEAD` frames ahead.

    Yields:
        The number of each frame, from 0, the frame in BGR order, and the time in seconds at which OpenCV says that it
        is shown. Where OpenCV does not know the time, it is 0 or any other number.

    Raises:
        ConfigError: reading a frame failed. The frames before it are yielded first.
    """
    frames: collections.deque[tuple[int, np.ndarray, float]] = collections.deque(maxlen=1 if newest_only else None)
    changed = threading.Condition()
    is_closed = is_finished = False
    failure: BaseException | None = None
    number = 0

    def read() -> None:
        nonlocal is_finished, failure, number
        try:
            for number in itertools.count():
                is_read, image = capture.read()
                if not is_read:
                    break
                time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                with changed:
                    if not newest_only:
                        changed.wait_for(lambda: is_closed or len(frames) < READ_AHEAD)
                    if is_closed:
                        break
                    frames.append((number, image, time_s))
                    changed.notify_all()
        except BaseException as error:  # whatever it is, the consumer must not wait for this thread any longer
            failure = error
        with changed:
            is_finished = True
            changed.notify_all()

    thread = threading.Thread(target=read, name=f"reads {name}", daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: frames or is_finished)
                if not frames:
                    break
                frame = frames.popleft()
                changed.notify_all()
            yield frame
        if failure is not None:
            raise ConfigError(f"{name}: reading frame {number} failed: {failure}") from failure
    finally:
        with changed:
            is_closed = True
            changed.notify_all()
        thread.join()
        capture.release()
