"""Video files: their frames, each with the time at which it is shown."""

import contextlib
import logging
import math
import shlex
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from yolox_jax.config import ConfigError
from yolox_jax.inference.input.captures import frame_rate, open_capture, read_frames
from yolox_jax.inference.input.frames import Frame, Frames

DEFAULT_RATE = 25.0
"""Frames per second of a video or camera that does not report its rate."""
USUAL_RATE = 120.0
"""Headers that report more are checked against the first frames."""
NUM_PROBED = 32
"""Frames at the start of a video that tell its rate."""
LONGEST_GAP_S = 600.0
"""A larger step from one frame to the next is a damaged time, not a pause."""
MISSING_S = 0.5
"""A video whose frames end this much before its duration counts as truncated; an audio track may be a little longer."""

CODEC_NAMES = {
    "av01": "AV1",
    "hev1": "HEVC (H.265)",
    "hvc1": "HEVC (H.265)",
    "hevc": "HEVC (H.265)",
    "vp09": "VP9",
    "vp90": "VP9",
    "vp80": "VP8",
    "avc1": "H.264",
    "h264": "H.264",
    "apcn": "ProRes",
    "apch": "ProRes",
    "ap4h": "ProRes",
}
"""Names of codecs by the tag in the file, in lower case."""

logger = logging.getLogger(__name__)


def open_video(source: Path | str) -> Frames:
    """Open a video file, or a video at a URL.

    The frames of a file raise ConfigError if it was removed before they are read.

    Raises:
        ConfigError: it cannot be opened, or not one of its frames can be decoded; the message names its codec.
    """
    capture = open_capture(str(source))
    if capture is None:
        raise ConfigError(f"{source} cannot be opened as a video: it is damaged, truncated, or has an unknown codec")
    count, reported = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), frame_rate(capture)
    drawing_rate = reported
    if isinstance(source, Path):
        times = _first_times(capture)
        if not times:
            message = _undecodable(capture, source)
            capture.release()
            raise ConfigError(message)
        drawing_rate = _drawing_rate(reported, times)
        # A seek to the start would not be exact for all formats. It is opened again when its frames are read, because
        # there may be many videos.
        capture.release()
        capture = None
    frames = _video_frames(capture, source, count, reported)
    stem, paths = (source.stem, (source,)) if isinstance(source, Path) else (_stem_of_url(source), ())
    rate = drawing_rate or DEFAULT_RATE
    return Frames(frames, count if count > 0 else None, stem, paths, rate=rate, capture=capture)


def _first_times(capture: Any) -> list[float]:
    """The times of the first frames in seconds; empty if not one can be decoded."""
    times: list[float] = []
    with contextlib.suppress(cv2.error):  # raised again, with its message, when the frame is read
        while len(times) < NUM_PROBED and capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    return times


def _drawing_rate(reported: float | None, times: list[float]) -> float | None:
    """A constant rate for a video with these times: frames that are shown longer are repeated.

    The reported rate of a video with a variable rate is an average or a guess; frames of faster parts would be lost.
    """
    steps = np.diff(times)
    steps = steps[(steps > 0) & (steps < LONGEST_GAP_S)]
    if not len(steps):
        return reported
    measured = min(1 / float(steps[steps <= 1.5 * steps.min()].mean()), USUAL_RATE)  # times are rounded to 1 ms
    if reported is None or reported > max(USUAL_RATE, 1.1 * measured):
        return measured
    return measured if measured > 1.1 * reported else reported


def _video_frames(capture: Any, source: Path | str, count: int, rate: float | None) -> Generator[Frame, None, None]:
    path, url = (source, None) if isinstance(source, Path) else (None, source)
    stem = source.stem if isinstance(source, Path) else _stem_of_url(source)
    capture = open_capture(str(source)) if capture is None else capture
    if capture is None:
        raise ConfigError(f"{source} can no longer be opened; it was removed or changed meanwhile")
    num_read, longest_s = 0, 0.0
    time_s: float | None = None
    with contextlib.closing(read_frames(capture, str(source))) as frames:
        for number, image, reported_s in frames:
            previous_s, time_s = time_s, _frame_time(number, reported_s, time_s, rate)
            if time_s is not None and previous_s is not None:
                longest_s = max(longest_s, time_s - previous_s)
            yield Frame(f"{stem}_{number:06d}", image, path, number=number, time_s=time_s, url=url)
            num_read = number + 1
    if num_read >= count - 1:  # headers are often one off
        return
    if time_s is None or rate is None:
        logger.warning("%s ends early, after frame %d of %d; the rest is missing", source, num_read, count)
    # The number of frames in a header may be an estimate from the duration and the rate.
    elif count / rate - time_s - longest_s > max(MISSING_S, longest_s):
        logger.warning(
            "%s ends early, after frame %d at %.1f s of %.1f s; the rest is missing or cannot be decoded",
            source,
            num_read,
            time_s,
            count / rate,
        )


def _frame_time(number: int, reported_s: float, previous_s: float | None, rate: float | None) -> float | None:
    """The time of a frame as OpenCV reports it; not all of its backends and not all files have it."""
    if number == 0:
        return reported_s if 0 < reported_s < LONGEST_GAP_S else 0.0
    if previous_s is None:
        return reported_s if 0 < reported_s < math.inf else None
    if previous_s < reported_s < previous_s + LONGEST_GAP_S:
        return reported_s
    return None if rate is None else previous_s + 1 / rate


def _undecodable(capture: Any, source: Path) -> str:
    tag = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("latin1").strip("\0 ")
    name = CODEC_NAMES.get(tag.lower())
    codec = f"its codec, {f'{name} ({tag})' if name else tag}," if tag.isprintable() and tag else "its codec"
    return (
        f"{source}: not one frame can be decoded. Either {codec} is not supported by this build of OpenCV, or the file "
        f"is damaged. Convert it, for example to H.264: "
        + shlex.join(["ffmpeg", "-i", str(source), "-c:v", "libx264", str(source.with_name(f"{source.stem}_h264.mp4"))])
    )


def _stem_of_url(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).stem
