"""Runs a detector over images, videos and cameras, and writes down what it finds."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import ConfigError
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.draw import draw_detections
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame, Frames
from yolox_jax.inference.output_files import Listing, Video, entry_of, save_crops, save_image, save_yolo

Save = Literal["drawings", "json", "jsonl", "yolo", "crops"]
"""`drawings`: images, or a video, with boxes; `json`: detections.json; `jsonl`: detections.jsonl, a line an image as it
comes; `yolo`: labels/NAME.txt; `crops`: crops/CLASS/NAME_0.jpg."""
DRAWERS = 4
"""Threads that draw and write."""
WAITING = 16
"""Images that may wait for them."""


@dataclasses.dataclass
class Outcome:
    """What was done."""

    images: int = 0
    detections: int = 0
    unreadable: int = 0
    seconds: float = 0.0


def predict(
    detector: Detector,
    sources: Sequence[Frames],
    output: Path,
    *,
    save: Sequence[Save] = ("drawings", "json"),
    on_progress: Callable[[int, int | None], None] | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Detect objects in images and save what was asked for.

    However it ends, by Ctrl-C too, files are closed and hold what was done so far.

    Args:
        detector: finds the objects.
        sources: opened; each is closed at its end.
        output: existing folder.
        save: what to write there.
        on_progress: called after each image with the number of those done, and of all where that is known.
        outcome: counts into this, for who wants to know after Ctrl-C.

    Returns:
        The counts. Images that cannot be read are logged and left out.
    """
    outcome = outcome or Outcome()
    totals = [source.total for source in sources]
    total = sum(number or 0 for number in totals) if all(totals) else None
    start = time.perf_counter()
    with contextlib.ExitStack() as opened:
        writer = opened.enter_context(_Writer(output, save))
        for source in sources:
            writer.begin(source)
            for frame, detections in detector.stream(source):
                if frame.image is None:
                    outcome.unreadable += 1
                else:
                    writer.add(frame, detections)
                    outcome.images += 1
                    outcome.detections += len(detections)
                outcome.seconds = time.perf_counter() - start
                if on_progress is not None:
                    on_progress(outcome.images + outcome.unreadable, total)
    outcome.seconds = time.perf_counter() - start
    return outcome


class _Writer(contextlib.ExitStack):
    """Writes what was asked for of one image after another; drawing goes on in threads, in order."""

    def __init__(self, output: Path, save: Sequence[Save]) -> None:
        super().__init__()
        self._output, self._save = output, save
        self._pool = self.enter_context(ThreadPoolExecutor(DRAWERS))
        self._listings = [
            self.enter_context(Listing(output / f"detections.{name}")) for name in ("json", "jsonl") if name in save
        ]
        self._video: Video | None = None
        self._waiting: collections.deque[tuple[int | None, Future[np.ndarray | None]]] = collections.deque()
        """Number of the frame of a video, and its drawing."""
        self.callback(self._finish)

    def begin(self, source: Frames) -> None:
        """What is added from here on comes from this source."""
        self._finish()
        if "drawings" in self._save and source.rate is not None:
            self._video = Video(self._output / f"{source.name}.mp4", source.rate)

    def add(self, frame: Frame, detections: ImageDetections) -> None:
        """Write an image's detections, or have them written."""
        assert frame.image is not None
        entry = entry_of(frame, detections)
        for listing in self._listings:
            listing.add(entry)
        task = self._pool.submit(self._work, frame, frame.image, detections)
        self._waiting.append((frame.number, task))
        while len(self._waiting) > WAITING or (self._waiting and self._waiting[0][1].done()):
            self._take()

    def _work(
        self, frame: Frame, image: UInt8[np.ndarray, "H W 3"], detections: ImageDetections
    ) -> UInt8[np.ndarray, "H W 3"] | None:
        """Everything that needs no order; returns the drawing of a video's frame."""
        try:
            if "yolo" in self._save:
                save_yolo(self._output / "labels" / f"{_stem(frame)}.txt", image, detections)
            if "crops" in self._save:
                save_crops(self._output / "crops", _stem(frame), image, detections)
            if "drawings" not in self._save:
                return None
            drawn = draw_detections(
                image, detections.boxes, detections.scores, detections.classes, detections.class_names
            )
            if frame.number is not None:
                return drawn
            save_image(self._output / frame.name, drawn)
        except OSError as error:  # a full disk names no file
            raise ConfigError(f"what is found in {frame.name} cannot be written to {self._output}: {error}") from error
        return None

    def _take(self) -> None:
        number, task = self._waiting.popleft()
        try:
            drawn = task.result()
            if self._video is not None and number is not None and drawn is not None:
                self._video.add(drawn, number)
        except Exception:
            self._waiting.clear()  # what comes after a frame that is lost would stand in its place
            raise

    def _finish(self) -> None:
        """Wait for what is still being drawn, and close the video, whatever fails."""
        try:
            while self._waiting:
                self._take()
        finally:
            if self._video is not None:
                self._video.close()
                self._video = None


def _stem(frame: Frame) -> str:
    return Path(frame.name).stem if frame.number is None else frame.name
