"""Runs a detector on images, videos and cameras, and writes its detections to files."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt, UInt8

from yolox_jax.config import ConfigError
from yolox_jax.data.channels import to_picture
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame, Frames
from yolox_jax.inference.output_checks import check_trackable
from yolox_jax.inference.output_files import Listing, Video, drawing_name, json_entry, save_crops, save_image, save_yolo
from yolox_jax.inference.tracking import Tracker, TrackingMethod

Save = Literal["drawings", "json", "jsonl", "yolo", "crops"]
"""`drawings`: images, or a video, with boxes; `json`: detections.json; `jsonl`: detections.jsonl, one line per image,
written as soon as it is detected; `yolo`: labels/NAME.txt; `crops`: crops/CLASS/NAME_0.jpg."""
NUM_WRITERS = 4
"""Threads that draw and write."""
MAX_PENDING = 16
"""Images that may wait for a thread."""


@dataclasses.dataclass
class Outcome:
    """Counts of a prediction."""

    images: int = 0
    classes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Number of detections by class."""
    classes_by_source: list[collections.Counter[str]] = dataclasses.field(default_factory=list)
    """The same for each source that was started."""
    unreadable: int = 0
    """Images that could not be read."""
    seconds: float = 0.0

    @property
    def detections(self) -> int:
        """Number of detections."""
        return self.classes.total()


def predict(
    detector: Detector,
    sources: Sequence[Frames],
    output: Path,
    *,
    save: Sequence[Save] = ("drawings", "json"),
    track: TrackingMethod | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Detect objects in images, and save the detections.

    After an error or Ctrl-C, all files are closed and contain the detections up to then.

    Args:
        detector: the detector.
        sources: from `open_frames`. All are closed in the end.
        output: an existing folder.
        save: the kinds of files to write there.
        track: follow the objects through each source with this method; all must be videos, cameras or streams.
        on_progress: called after each image with the number of images done, and the total if known.
        outcome: updated after each image, so that the counts are known after Ctrl-C as well.

    Returns:
        The counts. Images that cannot be read are logged and skipped.

    Raises:
        ConfigError: a file cannot be written, reading a video, camera or stream fails, or objects cannot be tracked
            (see `check_trackable`).
    """
    if track is not None:
        check_trackable(sources, track)
    outcome = outcome or Outcome()
    totals = [source.total for source in sources]
    total = sum(number or 0 for number in totals) if all(totals) else None
    start = time.perf_counter()
    with contextlib.ExitStack() as opened:
        for source in sources:
            opened.enter_context(contextlib.closing(source))
        writer = opened.enter_context(_Writer(output, save))
        for source in sources:
            writer.begin(source)
            outcome.classes_by_source.append(collections.Counter())
            tracker = None if track is None or source.rate is None else Tracker(track, source.rate)
            for frame, detections in detector.stream(source):
                if tracker is not None:
                    detections = tracker.update(detections, _time_of(frame, source))
                if frame.image is None:
                    outcome.unreadable += 1
                else:
                    writer.add(frame, detections)
                    outcome.images += 1
                    outcome.classes.update(detections.class_names)
                    outcome.classes_by_source[-1].update(detections.class_names)
                outcome.seconds = time.perf_counter() - start
                if on_progress is not None:
                    on_progress(outcome.images + outcome.unreadable, total)
    outcome.seconds = time.perf_counter() - start
    return outcome


def _time_of(frame: Frame, source: Frames) -> float | None:
    """When a frame of a video is shown, or when a camera, some of whose frames are dropped, took it."""
    if frame.time_s is None and frame.number is not None and source.rate:
        return frame.number / source.rate
    return frame.time_s


class _Writer(contextlib.ExitStack):
    """Writes the files of one image after another. Threads draw; frames of a video are written in order."""

    def __init__(self, output: Path, save: Sequence[Save]) -> None:
        super().__init__()
        self._output, self._save = output, save
        self._pool = self.enter_context(ThreadPoolExecutor(NUM_WRITERS))
        self._listings = [
            self.enter_context(Listing(output / f"detections.{name}")) for name in ("json", "jsonl") if name in save
        ]
        self._video: Video | None = None
        self._rate = 0.0
        self._pending: collections.deque[tuple[int | None, Future[np.ndarray | None]]] = collections.deque()
        """Number of a frame in the drawn video, and its drawing."""
        self.callback(self._finish)

    def begin(self, source: Frames) -> None:
        """Start a source: the images added from now on are its own."""
        self._finish()
        if "drawings" in self._save and source.rate is not None:
            self._rate = source.rate
            self._video = Video(self._output / f"{source.name}.mp4", source.rate)

    def add(self, frame: Frame, detections: ImageDetections) -> None:
        """List the detections of an image, and start drawing them."""
        assert frame.image is not None
        entry = json_entry(frame, detections)
        for listing in self._listings:
            listing.add(entry)
        task = self._pool.submit(self._work, frame, frame.image, detections)
        # By its time, because the frame rate of a video may vary.
        number = frame.number if frame.time_s is None else round(frame.time_s * self._rate)
        self._pending.append((number, task))
        while len(self._pending) > MAX_PENDING or (self._pending and self._pending[0][1].done()):
            self._finish_first()

    def _work(
        self, frame: Frame, image: UInt[np.ndarray, "H W C"], detections: ImageDetections
    ) -> UInt8[np.ndarray, "H W 3"] | None:
        """Write the files that need no order; return the drawing of a frame of a video."""
        picture = to_picture(image)
        try:
            if "yolo" in self._save:
                save_yolo(self._output / "labels" / f"{_stem(frame)}.txt", picture, detections)
            if "crops" in self._save:
                save_crops(self._output / "crops", _stem(frame), picture, detections)
            if "drawings" not in self._save:
                return None
            drawn = detections.plot(picture)
            if frame.number is not None:
                return drawn
            save_image(self._output / drawing_name(frame.name), drawn)
        except OSError as error:  # that of a full disk does not name the file
            raise ConfigError(f"the detections in {frame.name} cannot be written to {self._output}: {error}") from error
        return None

    def _finish_first(self) -> None:
        number, task = self._pending.popleft()
        try:
            drawn = task.result()
            if self._video is not None and number is not None and drawn is not None:
                self._video.add(drawn, number)
        except Exception:
            self._pending.clear()  # after a lost frame, the video would show the next frames too early
            raise

    def _finish(self) -> None:
        """Wait for the pending drawings, and close the video even if one fails."""
        try:
            while self._pending:
                self._finish_first()
        finally:
            if self._video is not None:
                self._video.close()
                self._video = None


def _stem(frame: Frame) -> str:
    return Path(frame.name).stem if frame.number is None else frame.name
