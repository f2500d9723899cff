"""Small videos for tests."""

import time
from pathlib import Path

import cv2
import numpy as np

RATE, SIZE = 10.0, (64, 96)
"""Frames a second; height and width in px."""


def frame(number: int) -> np.ndarray:
    """A square that moves to the right, 2 px a frame."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[20:40, 2 * number : 2 * number + 20] = 255
    return image


def write_video(path: Path, frames: int) -> Path:
    """A video of the square; as Motion JPEG, of which a part can be read, where the name ends in .avi."""
    code = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, RATE, SIZE[::-1])
    for number in range(frames):
        writer.write(frame(number))
    writer.release()
    return path


def left_edge(image: np.ndarray) -> float:
    """Where the square begins, in px."""
    return float(np.argmax(image[30, :, 0] > 127))


class Camera:
    """In place of `cv2.VideoCapture`: frames without end, one in 2 ms, from a camera that does not report its rate."""

    rate = 0.0
    fails_at: int | None = None
    """Number of the frame whose reading raises an exception."""
    ends_at: int | None = None
    """Number of frames that there are."""

    def __init__(self, source: int | str) -> None:
        self.is_open, self.number = source in (0, "rtsp://here") or Path(str(source)).is_file(), 0
        Camera.last = self

    def isOpened(self) -> bool:  # noqa: N802
        return self.is_open

    def get(self, _: int) -> float:
        return self.rate

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.002)
        if self.number == self.fails_at:
            raise cv2.error("no memory left")
        if self.number == self.ends_at:
            return False, None
        self.number += 1
        return True, frame(self.number % 30)

    def grab(self) -> bool:
        return True

    def release(self) -> None:
        self.is_open = False


class Film(Camera):
    """In place of `cv2.VideoCapture`: a file whose frames are shown at `times_s`, such as one of a phone."""

    times_s: tuple[float, ...] = ()
    reported_rate = 25.0
    reported_count = 0
    knows_times = True
    tag = "h264"

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return 1000 * self.times_s[self.number - 1] if self.knows_times and self.number else 0.0
        if what == cv2.CAP_PROP_FOURCC:
            return int.from_bytes(self.tag.encode(), "little")
        return {cv2.CAP_PROP_FPS: self.reported_rate, cv2.CAP_PROP_FRAME_COUNT: self.reported_count}[what]

    def grab(self) -> bool:
        if self.number == len(self.times_s):
            return False
        self.number += 1
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, frame(self.number - 1)) if self.grab() else (False, None)
