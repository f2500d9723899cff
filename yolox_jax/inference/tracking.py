"""Follows objects through the frames of a video with the trackers of the package trackers."""

import dataclasses
import importlib.util
from typing import Any, Literal

import numpy as np

from yolox_jax.config import ConfigError
from yolox_jax.inference.image_detections import ImageDetections

TrackingMethod = Literal["bytetrack"]
"""`bytetrack`: matches boxes from frame to frame by motion and overlap, those with low scores second
(https://arxiv.org/abs/2110.06864)."""


class Tracker:
    """Gives the detections in successive frames of one video the ids of their objects.

    >>> tracker = Tracker("bytetrack", frame_rate=25.0)  # doctest: +SKIP
    >>> for frame, found in detector.stream("street.mp4"):  # doctest: +SKIP
    ...     print(tracker.update(found, frame.time_s).track_ids)
    """

    def __init__(self, method: TrackingMethod, frame_rate: float) -> None:
        """Start without objects.

        Args:
            method: the only one is `bytetrack`, with the package's settings, which are those of the paper.
            frame_rate: frames per second, as in `Frames.rate`. An object that is not seen for a second is given up.

        Raises:
            ConfigError: the package is not installed.
        """
        check_installed(method)
        from trackers import ByteTrackTracker

        self._tracker = ByteTrackTracker(frame_rate=frame_rate)

    def update(self, detections: ImageDetections, time_s: float | None = None) -> ImageDetections:
        """Return the detections of the next frame in the same order, with `track_ids`.

        Args:
            detections: of the frame.
            time_s: when the frame is shown, for videos of a variable frame rate and cameras that drop frames; later
                than the last one. By default, frames are evenly spaced; then leave it out for all frames.
        """
        import supervision

        boxes = supervision.Detections(
            xyxy=detections.boxes.astype(np.float32),
            confidence=detections.scores.astype(np.float32),
            class_id=detections.classes.astype(int),
            data={"place": np.arange(len(detections))},
        )
        followed: Any = self._tracker.update(boxes, timestamp=time_s)
        track_ids = np.full(len(detections), -1, np.int64)
        if len(followed):  # in another order
            track_ids[followed.data["place"]] = followed.tracker_id
        return dataclasses.replace(detections, track_ids=track_ids)


def check_installed(method: TrackingMethod) -> None:
    """Raise ConfigError if the package trackers is not installed; imports nothing."""
    if importlib.util.find_spec("trackers") is None:
        raise ConfigError(f"--track {method} needs the package trackers: pip install 'yolox-jax[track]'")
