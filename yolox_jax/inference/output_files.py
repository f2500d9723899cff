"""The files that a prediction leaves: lists of detections, YOLO labels, crops, drawn images and videos."""

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
from yolox_jax.inference.input.frames import Frame

logger = logging.getLogger(__name__)

VIDEO_CODEC = "mp4v"
"""MPEG-4, which OpenCV's own build writes everywhere; H.264 needs a library of the system."""


def entry_of(frame: Frame, detections: ImageDetections) -> dict[str, Any]:
    """An image and its detections as plain JSON values."""
    assert frame.image is not None
    place: dict[str, Any] = {"file": str(frame.path) if frame.path is not None else frame.name}
    if frame.number is not None:
        place |= {"frame": frame.number, "time_s": None if frame.time_s is None else round(frame.time_s, 4)}
    size = {"width": frame.image.shape[1], "height": frame.image.shape[0]}
    return {**place, **size, "detections": detections.to_dicts()}


class Listing(contextlib.AbstractContextManager["Listing"]):
    """A file of entries, one a line, each there as soon as it is added.

    What ends in .json is one array, complete once closed; anything else has an object a line.
    """

    def __init__(self, path: Path) -> None:
        self._is_array = path.suffix == ".json"
        # A name that is no text (a lone surrogate) becomes an escape, which JSON has too.
        self._file: IO[str] = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._is_empty = True
        if self._is_array:
            self._file.write("[")

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry."""
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
    """A video of drawn frames: NAME.partial.mp4 until it is closed, then NAME.mp4."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._partial = path.with_name(f"{path.stem}.partial.mp4")
        self._writer: Any = None
        self._size = (0, 0)
        self._last: UInt8[np.ndarray, "H W 3"] | None = None
        self._next_number = 0

    def add(self, image: UInt8[np.ndarray, "H W 3"], number: int) -> None:
        """Append a frame; all have the size of the first.

        Args:
            image: the frame.
            number: of all frames that the source gave. For those left out since the last one, as of a camera, that one
                stays, so that the video takes the time that it took.

        Raises:
            ConfigError: OpenCV cannot write videos here.
        """
        if self._writer is None:
            self._size = image.shape[1], image.shape[0]
            code = cv2.VideoWriter_fourcc(*VIDEO_CODEC)  # type: ignore[attr-defined]
            writer = cv2.VideoWriter(str(self._partial), code, self._rate, self._size)
            if not writer.isOpened():
                raise ConfigError(
                    f"{self._path} cannot be written: this OpenCV cannot encode {VIDEO_CODEC} with "
                    f"{self._size[0]}x{self._size[1]} px and {self._rate:g} frames/s. Leave drawings out: --save json"
                )
            self._writer = writer
        if (image.shape[1], image.shape[0]) != self._size:  # a stream may change
            image = cv2.resize(image, self._size)
        for _ in range(number - self._next_number if self._last is not None else 0):
            self._writer.write(self._last)
        self._writer.write(image)
        self._last, self._next_number = image, number + 1

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            self._writer.release()
            self._partial.replace(self._path)


def save_image(path: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an image in the format that its ending names; one too large for that is logged and left out."""
    done, encoded = cv2.imencode(path.suffix.lower(), image)
    if not done:
        height, width = image.shape[:2]
        logger.warning("%s is not written: %dx%d px do not fit its format", path, width, height)
        return
    path.write_bytes(encoded.tobytes())


def save_yolo(path: Path, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections) -> None:
    """Write a line a detection: class index, centre x and y, width and height as shares of the image, score.

    Boxes are cut at the borders; what lies outside is left out.
    """
    height, width = image.shape[:2]
    boxes = np.clip(detections.boxes, 0, [width, height, width, height])
    lines = []
    for index, score, (x1, y1, x2, y2) in zip(detections.classes, detections.scores, boxes.tolist(), strict=True):
        if x2 > x1 and y2 > y1:
            shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            lines.append(" ".join([str(int(index)), *(f"{value:.6f}" for value in shares), f"{score:.4f}"]) + "\n")
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(lines))


def save_crops(folder: Path, stem: str, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections) -> None:
    """Write what lies in each box to FOLDER/CLASS/STEM_k.jpg, k from 0 on, best first."""
    height, width = image.shape[:2]
    corners = np.clip(detections.boxes.round().astype(int), 0, [width, height, width, height])
    for number, (name, (x1, y1, x2, y2)) in enumerate(zip(detections.class_names, corners.tolist(), strict=True)):
        if x2 > x1 and y2 > y1:
            place = folder / _as_file_name(name)
            place.mkdir(parents=True, exist_ok=True)
            save_image(place / f"{stem}_{number}.jpg", image[y1:y2, x1:x2])


def _as_file_name(name: str) -> str:
    """A class name without what a file system may not take."""
    return "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in name).strip(" .") or "_"
