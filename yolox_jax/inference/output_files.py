"""Output files of a prediction: lists of detections, YOLO labels, crops, images and videos with boxes."""

import contextlib
import json
import logging
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import ConfigError
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.captures import silent_opencv
from yolox_jax.inference.input.frames import Frame
from yolox_jax.inference.picture_files import PictureError, can_write, write_picture

logger = logging.getLogger(__name__)

VIDEO_CODECS = {"avc1": "H.264", "mp4v": "MPEG-4 Part 2"}
"""Codecs of drawn videos, the best first. Browsers play H.264 only, but OpenCV's packages for Linux cannot write it."""


def json_entry(frame: Frame, detections: ImageDetections) -> dict[str, Any]:
    """Return an image and its detections as plain JSON values."""
    assert frame.image is not None
    place: dict[str, Any] = {"file": frame.location}
    if frame.number is not None:
        place |= {"frame": frame.number, "time_s": None if frame.time_s is None else round(frame.time_s, 4)}
    size = {"width": frame.image.shape[1], "height": frame.image.shape[0]}
    return {**place, **size, "detections": detections.to_dicts()}


class Listing(contextlib.AbstractContextManager["Listing"]):
    """A file of entries, one per line, each written as soon as it is added.

    A .json file holds one array, which is complete once the file is closed. Any other file holds one object per line.
    """

    def __init__(self, path: Path) -> None:
        self._is_array = path.suffix == ".json"
        # A lone surrogate, from a file name that is not valid UTF-8, is written as a JSON escape.
        self._file: IO[str] = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._is_empty = True
        if self._is_array:
            self._file.write("[")

    def add(self, entry: dict[str, Any]) -> None:
        """Write one entry."""
        line = json.dumps(entry, ensure_ascii=False)
        if self._is_array:
            line = ("\n" if self._is_empty else ",\n") + line
        self._file.write(line if self._is_array else line + "\n")
        self._file.flush()
        self._is_empty = False

    def __exit__(self, *_: object) -> None:
        if self._is_array:
            self._file.write("\n]\n")
        self._file.close()


class Video:
    """A video of frames with boxes. It is called NAME.partial.mp4 until it is closed, then NAME.mp4."""

    def __init__(self, path: Path, rate: float) -> None:
        """Prepare a video with a constant frame rate.

        Args:
            path: the .mp4 file.
            rate: frames per second.
        """
        self._path, self._rate = path, rate
        self._partial = path.with_name(f"{path.stem}.partial.mp4")
        self._writer: Any = None
        self._size = (0, 0)
        self._last: UInt8[np.ndarray, "H W 3"] | None = None
        self._next_number = 0

    def add(self, image: UInt8[np.ndarray, "H W 3"], number: int) -> None:
        """Append a frame, resized to the size of the first.

        Args:
            image: the frame.
            number: its number in a video of this rate. The last frame is repeated for numbers that were left out, as
                those of a camera, and of two frames with one number the first stays, so that the video keeps its speed.

        Raises:
            ConfigError: this build of OpenCV cannot write the video.
        """
        if self._writer is None:
            self._size = image.shape[1], image.shape[0]
            self._writer = self._open()
        if (image.shape[1], image.shape[0]) != self._size:  # that of a stream may change
            image = cv2.resize(image, self._size)
        for _ in range(number - self._next_number if self._last is not None else 0):
            self._writer.write(self._last)
        if self._last is None or number >= self._next_number:
            self._writer.write(image)
            self._next_number = number + 1
        self._last = image

    def _open(self) -> Any:
        for codec, name in VIDEO_CODECS.items():
            code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
            with silent_opencv():
                writer = cv2.VideoWriter(str(self._partial), code, self._rate, self._size)
            if writer.isOpened():
                logger.info("%s: encoded as %s", self._path, name)
                return writer
        raise ConfigError(
            f"{self._path} cannot be written: this OpenCV cannot encode {' or '.join(VIDEO_CODECS.values())} with "
            f"{self._size[0]}x{self._size[1]} px and {self._rate:g} frames/s. Save no drawings: --save json"
        )

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            self._writer.release()
            self._partial.replace(self._path)


def drawing_name(name: str) -> str:
    """File name for the drawing of an image: its own, with `.png` added if OpenCV cannot write its format."""
    return name if can_write(Path(name).suffix) else f"{name}.png"


def save_image(path: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an image in the format of its suffix. One that is too large for the format is logged and skipped."""
    try:
        write_picture(path, image)
    except PictureError as error:
        logger.warning("%s", error)


def save_yolo(path: Path, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections) -> None:
    """Write one line per detection: class index, centre x and y, width and height as fractions of the image, score.

    Boxes are clipped to the image; those outside are skipped.
    """
    height, width = image.shape[:2]
    boxes = np.clip(detections.boxes, 0, [width, height, width, height])
    lines = []
    for index, score, (x1, y1, x2, y2) in zip(detections.classes, detections.scores, boxes.tolist(), strict=True):
        if x2 > x1 and y2 > y1:
            fractions = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            lines.append(" ".join([str(int(index)), *(f"{value:.6f}" for value in fractions), f"{score:.4f}"]) + "\n")
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(lines))


def save_crops(folder: Path, stem: str, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections) -> None:
    """Write the part of the image in each box to FOLDER/CLASS/STEM_k.jpg, with k from 0, best first."""
    height, width = image.shape[:2]
    corners = np.clip(detections.boxes.round().astype(int), 0, [width, height, width, height])
    for number, (name, (x1, y1, x2, y2)) in enumerate(zip(detections.class_names, corners.tolist(), strict=True)):
        if x2 > x1 and y2 > y1:
            class_folder = folder / _as_file_name(name)
            class_folder.mkdir(parents=True, exist_ok=True)
            save_image(class_folder / f"{stem}_{number}.jpg", image[y1:y2, x1:x2])


def _as_file_name(name: str) -> str:
    """Replace the characters of a class name that a file system may refuse."""
    return "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in name).strip(" .") or "_"
