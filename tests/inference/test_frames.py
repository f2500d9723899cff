"""Images from every kind of source."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from videos import RATE, Camera, left_edge, write_video
from yolox_jax.config import ConfigError
from yolox_jax.inference.input.sources import is_endless, open_frames
from yolox_jax.inference.input.videos import DEFAULT_RATE


@pytest.fixture
def folder(tmp_path):
    for number in (2, 10, 1):
        cv2.imwrite(str(tmp_path / f"{number:02d}.png"), np.full((8, 12, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_and_a_pattern_give_their_images_in_order_of_names(folder):
    opened = open_frames(folder)
    assert (opened.total, opened.rate, opened.is_live) == (3, None, False)
    assert [(frame.name, int(frame.image[0, 0, 0])) for frame in opened.frames] == [
        ("01.png", 1),
        ("02.png", 2),
        ("10.png", 10),
    ]
    assert [frame.name for frame in open_frames(f"{folder}/0*.png").frames] == ["01.png", "02.png"]
    assert [frame.name for frame in open_frames(folder / "02.png").frames] == ["02.png"]


def test_images_that_cannot_be_read_come_with_their_error(folder):
    (folder / "03.jpg").touch()
    (folder / "04.jpg").write_bytes(b"not an image")
    found = {frame.name: frame for frame in open_frames(folder).frames}
    assert len(found) == 5
    assert found["03.jpg"].image is None
    assert "empty file" in found["03.jpg"].error
    assert "not an image" in found["04.jpg"].error
    assert found["10.png"].error is None


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_a_video_gives_all_its_frames_with_their_times(tmp_path, ending):
    opened = open_frames(write_video(tmp_path / f"square{ending}", 30))
    assert (opened.total, opened.rate, opened.name) == (30, RATE, "square")
    frames = list(opened.frames)
    assert [frame.name for frame in frames[:2]] == ["square_000000", "square_000001"]
    assert [left_edge(frame.image) for frame in frames] == pytest.approx([2 * number for number in range(30)], abs=2)
    assert frames[25].time_s == pytest.approx(2.5)


def test_a_video_that_breaks_off_gives_what_there_is_and_says_so(tmp_path, caplog):
    path = write_video(tmp_path / "square.avi", 50)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    frames = list(open_frames(path).frames)
    assert 10 < len(frames) < 40
    assert f"{path} ends early, after frame {len(frames)} at {frames[-1].time_s:.1f} s of 5.0 s" in caplog.text


def test_closing_a_video_early_ends_its_thread(tmp_path):
    before = threading.active_count()
    opened = open_frames(write_video(tmp_path / "square.mp4", 200))
    with contextlib.closing(opened):
        next(opened.frames)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


@pytest.mark.parametrize("source", [0, "0", "rtsp://here"])
def test_a_camera_gives_its_newest_frame_and_is_given_back(monkeypatch, source):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert is_endless(source)
    opened = open_frames(source)
    assert (opened.total, opened.is_live) == (None, True)
    with contextlib.closing(opened):
        first = next(opened.frames)
        time.sleep(0.05)
        second, third = next(opened.frames), next(opened.frames)
        assert first.number < second.number < third.number
        assert second.number > first.number + 1, "frames that came meanwhile were dropped"
    assert not Camera.last.is_open


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """The result of a function that may hang, which then fails the test."""
    outcome: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def call() -> None:
        try:
            outcome.put((function(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=call, daemon=True).start()
    result, error = outcome.get(timeout=seconds)
    if error is not None:
        raise error
    return result


@pytest.mark.parametrize("source", ["film.mp4", "0", "rtsp://here"])
@pytest.mark.parametrize("fails_at", [0, 3])
def test_a_failure_while_reading_is_raised_after_the_frames_before_it(tmp_path, monkeypatch, source, fails_at):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "film.mp4", 5)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "fails_at", fails_at)
    numbers = []
    message = rf"({source}|camera 0): reading frame {fails_at} failed: no memory left"
    with contextlib.closing(open_frames(source)) as opened, pytest.raises(ConfigError, match=message):
        within(10, lambda: numbers.extend(frame.number for frame in opened.frames))
    assert numbers == sorted(numbers) and (not fails_at or numbers[-1] == fails_at - 1)
    if source == "film.mp4":
        assert numbers == list(range(fails_at))
    assert not Camera.last.is_open
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reads")]


@pytest.mark.parametrize("source", ["0", "rtsp://here"])
def test_a_stream_that_ends_while_nobody_reads_gives_its_last_frame_and_ends(monkeypatch, caplog, source):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "ends_at", 4)
    with contextlib.closing(open_frames(source)) as opened:
        first = next(opened.frames)
        time.sleep(0.1)
        # On a busy machine, the first frame that is taken may be the last.
        assert [first.number, *(frame.number for frame in within(10, lambda: list(opened.frames)))][-1] == 3
    assert "has no more frames" in caplog.text


@pytest.mark.parametrize("source", ["film.mp4", "0", "rtsp://here"])
def test_closing_before_the_first_frame_releases_the_capture(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "film.mp4", 5)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    opened = open_frames(source)
    assert Camera.last.is_open == (source != "film.mp4"), "a folder may hold more videos than can be open at once"
    opened.close()
    assert not Camera.last.is_open
    assert list(opened.frames) == []


@pytest.mark.parametrize("is_set", [False, True])
def test_opening_a_video_leaves_the_environment_and_the_log_level(tmp_path, monkeypatch, is_set):
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)
    if is_set:
        monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "16")
    before, level = dict(os.environ), cv2.utils.logging.getLogLevel()
    open_frames(write_video(tmp_path / "square.mp4", 3)).close()
    assert dict(os.environ) == before
    assert cv2.utils.logging.getLogLevel() == level


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jpg", "no such file or folder"),
        ("missing/*.jpg", "no image matches"),
        ("empty", "contains no images"),
        ("notes.txt", "unsupported format.*stream"),
        ("broken.mp4", "cannot be opened as a video"),
        ("99", "camera 99 cannot be opened.*connected"),
        ("rtsp://127.0.0.1:1/x", "rtsp://127.0.0.1:1/x cannot be opened.*server"),
    ],
)
def test_what_cannot_be_opened_is_named(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no")
    (tmp_path / "broken.mp4").write_bytes(write_video(tmp_path / "whole.mp4", 30).read_bytes()[:1000])
    with pytest.raises(ConfigError, match=message):
        open_frames(source)


def test_a_folder_named_with_digits_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("2024").mkdir()
    cv2.imwrite("2024/a.png", np.zeros((4, 4, 3), np.uint8))
    assert [one.name for one in open_frames("2024").frames] == ["a.png"]
    assert not is_endless("2024") and is_endless("2025")


def test_a_rate_in_clock_ticks_is_ignored(monkeypatch):
    """OpenCV cannot write a video at such a rate."""
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "rate", 90_000.0)
    with contextlib.closing(open_frames(0)) as camera:
        assert camera.rate == DEFAULT_RATE
