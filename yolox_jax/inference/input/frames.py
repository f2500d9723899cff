"""Frames: images with their names, one after another, from any source."""

import itertools
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt

from yolox_jax.config import ConfigError


class Frame(NamedTuple):
    """An image and its name."""

    name: str
    """File name of an image. A frame of a video is named after the video and its number: `street_000012`."""
    image: UInt[np.ndarray, "H W C"] | None
    """BGR, or as the network takes it; None if the file cannot be read."""
    path: Path | None = None
    """The image or video file."""
    error: str | None = None
    """Why the file cannot be read."""
    number: int | None = None
    """Index of the frame in a video, camera or stream, from 0."""
    time_s: float | None = None
    """Seconds from the start of the video to when the frame is shown."""
    url: str | None = None
    """URL of an image or a video file."""

    @property
    def location(self) -> str:
        """The file or URL, or else the name."""
        return str(self.path or self.url or self.name)


class Frames(NamedTuple):
    """A source of images. Close it to end its threads and to release the video or camera."""

    frames: Generator[Frame, None, None]
    total: int | None
    """Number of images, if known. The header of a video may be wrong."""
    name: str = ""
    """Name of a video, camera, stream or image at a URL, suitable for a file."""
    paths: tuple[Path, ...] = ()
    """The files that are read."""
    is_live: bool = False
    """Whether this is a camera or stream: frames that arrive faster than they are taken are dropped."""
    rate: float | None = None
    """Frames per second of a video, camera or stream; None for image files. A video with a variable frame rate needs
    this rate to be drawn: that of its fastest part, as far as its first frames tell."""
    capture: Any = None
    """The `cv2.VideoCapture` of a camera, stream or video at a URL. Video files are opened when they are read."""

    def close(self) -> None:
        """End the threads and release the video or camera, also before the first frame."""
        self.frames.close()
        if self.capture is not None:
            self.capture.release()


def next_frames(frames: Iterator[Frame], count: int) -> tuple[list[Frame], ConfigError | None]:
    """Return up to `count` frames, and the error that ended the source, so that frames read before it are not lost."""
    batch: list[Frame] = []
    try:
        for frame in itertools.islice(frames, count):
            batch.append(frame)
    except ConfigError as error:
        return batch, error
    return batch, None
