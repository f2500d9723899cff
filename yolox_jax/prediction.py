"""Runs a detector over image files: draws what it finds on copies and lists it."""

import collections
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.data.image import BrokenImage, read_image
from yolox_jax.detector import Detector
from yolox_jax.draw import draw_detections
from yolox_jax.image_detections import ImageDetections

logger = logging.getLogger(__name__)


def predict_images(
    detector: Detector,
    paths: Sequence[Path],
    output: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Detect objects in image files and save drawings of them under the same names.

    Args:
        detector: finds the objects, `detector.batch_size` images at a time.
        paths: image files, no two of the same name. Unreadable ones are logged and left out.
        output: existing folder for the drawings.
        on_progress: called after each batch with the number of images done and the number of all images.

    Returns:
        For each image that could be read its file, width, height, and detections (class, class_index, score and
        box_xyxy in px), best first, as plain JSON values.
    """
    entries: list[dict[str, Any]] = []
    waiting: list[tuple[Path, np.ndarray]] = []
    for done, (path, image) in enumerate(_read_ahead(paths, 2 * detector.batch_size), start=1):
        if image is not None:
            waiting.append((path, image))
        if len(waiting) < detector.batch_size and done < len(paths):
            continue
        found = detector([image for _, image in waiting])
        for (source, image), detections in zip(waiting, found, strict=True):
            _save_drawing(output / source.name, image, detections)
            entries.append(_entry(source, image, detections))
        waiting.clear()
        if on_progress is not None:
            on_progress(done, len(paths))
    return entries


def _read_ahead(paths: Sequence[Path], ahead: int) -> Iterator[tuple[Path, UInt8[np.ndarray, "H W 3"] | None]]:
    """Read images in threads, at most `ahead` before they are asked for; None for those that cannot be read."""
    reading: collections.deque[tuple[Path, Future[np.ndarray]]] = collections.deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(max_workers=4) as pool:
        while True:
            while len(reading) < ahead and (path := next(remaining, None)) is not None:
                reading.append((path, pool.submit(read_image, path)))
            if not reading:
                return
            path, future = reading.popleft()
            try:
                yield path, future.result()
            except BrokenImage as error:
                logger.warning("left out: %s %s", error.path, error.why)
                yield path, None


def _save_drawing(path: Path, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections) -> None:
    drawn = draw_detections(image, detections.boxes, detections.scores, detections.classes, detections.class_names)
    _, encoded = cv2.imencode(path.suffix.lower(), drawn)
    path.write_bytes(encoded.tobytes())


def _entry(path: Path, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections) -> dict[str, Any]:
    rows = zip(detections.class_names, detections.classes, detections.scores, detections.boxes, strict=True)
    return {
        "file": str(path),
        "width": image.shape[1],
        "height": image.shape[0],
        "detections": [
            {
                "class": name,
                "class_index": int(index),
                "score": round(float(score), 4),
                "box_xyxy": [round(float(value), 2) for value in box],
            }
            for name, index, score, box in rows
        ],
    }
