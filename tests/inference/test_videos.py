"""Times of the frames of videos, and what is said about videos that cannot be read whole."""

import cv2
import numpy as np
import pytest

from videos import Film, left_edge, write_video
from yolox_jax.config import ConfigError
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame
from yolox_jax.inference.input.sources import open_frames
from yolox_jax.inference.output_files import Video
from yolox_jax.inference.predict import _Writer

PHONE_S = (*(number / 30 for number in range(10)), *(0.3 + 0.2 * number for number in range(1, 11)))
"""Ten frames at 30 a second, then ten at 5 a second."""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Film)
    for name, value in {"times_s": PHONE_S, "reported_rate": 9.97, "reported_count": 20}.items():
        monkeypatch.setattr(Film, name, value)
    path = tmp_path / "phone.mp4"
    path.touch()
    return path


@pytest.mark.parametrize(("rate", "count"), [(9.97, 20), (25.0, 59)])
def test_frames_have_the_time_at_which_they_are_shown(phone, monkeypatch, caplog, rate, count):
    """Matroska has no number of frames: OpenCV estimates it from the duration."""
    monkeypatch.setattr(Film, "reported_rate", rate)
    monkeypatch.setattr(Film, "reported_count", count)
    opened = open_frames(phone)
    assert [frame.time_s for frame in opened.frames] == pytest.approx(PHONE_S)
    assert opened.rate == pytest.approx(30), "the fastest part loses no frames when it is drawn"
    assert not caplog.records, "all frames were read"


def test_a_backend_that_does_not_know_the_times_gets_those_of_the_rate(phone, monkeypatch):
    monkeypatch.setattr(Film, "knows_times", False)
    monkeypatch.setattr(Film, "reported_rate", 10.0)
    opened = open_frames(phone)
    assert opened.rate == 10.0
    assert [frame.time_s for frame in opened.frames] == pytest.approx([number / 10 for number in range(20)])


def test_a_time_that_jumps_by_hours_is_not_believed(phone, monkeypatch):
    monkeypatch.setattr(Film, "times_s", (0.0, 0.1, 95_443.7, 95_443.8))
    monkeypatch.setattr(Film, "reported_rate", 10.0)
    assert [frame.time_s for frame in open_frames(phone).frames] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_constant_rate_is_kept_whatever_the_rounding_of_times(phone, monkeypatch):
    monkeypatch.setattr(Film, "times_s", tuple(round(number / 30, 3) for number in range(40)))
    monkeypatch.setattr(Film, "reported_rate", 30.0)
    assert open_frames(phone).rate == 30.0


def test_a_rate_of_clock_ticks_in_a_file_is_replaced_by_that_of_its_frames(phone, monkeypatch):
    monkeypatch.setattr(Film, "times_s", tuple(number / 20 for number in range(40)))
    monkeypatch.setattr(Film, "reported_rate", 1000.0)
    assert open_frames(phone).rate == pytest.approx(20)


def test_a_video_with_a_variable_rate_that_is_cut_off_is_named(phone, monkeypatch, caplog):
    monkeypatch.setattr(Film, "reported_count", 80)
    assert len(list(open_frames(phone).frames)) == 20
    assert "phone.mp4 ends early, after frame 20 at 2.3 s of 8.0 s" in caplog.text


def test_the_drawing_takes_as_long_as_the_original(phone, tmp_path, monkeypatch):
    opened = open_frames(phone)
    frames = list(opened.frames)
    monkeypatch.undo()
    found = ImageDetections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), (), image_size=(64, 96)
    )
    with _Writer(tmp_path, ["drawings"]) as writer:
        writer.begin(opened)
        for frame in frames:
            writer.add(frame, found)
    drawn = list(open_frames(tmp_path / "phone.mp4").frames)
    assert drawn[-1].time_s == pytest.approx(2.3, abs=0.02)
    assert [left_edge(frame.image) for frame in drawn[:10]] == pytest.approx(range(0, 20, 2), abs=1)
    assert left_edge(drawn[-1].image) == pytest.approx(38, abs=1)


def test_of_two_frames_in_one_slot_the_first_is_shown_and_the_next_comes_in_time(tmp_path):
    video = Video(tmp_path / "film.mp4", 10.0)
    for number, slot in enumerate((0, 1, 1, 1, 3)):
        video.add(np.full((64, 96, 3), 40 * number, np.uint8), slot)
    video.close()
    shown = [float(frame.image.mean()) for frame in open_frames(tmp_path / "film.mp4").frames]
    assert shown == pytest.approx([0, 40, 120, 160], abs=4), "what was last repeats until the next"


@pytest.mark.parametrize(("tag", "named"), [("AV01", r"AV1 \(AV01\)"), ("xyz1", "xyz1"), ("\0\0\0\0", "its codec")])
def test_a_video_without_a_frame_that_can_be_decoded_names_its_codec_and_the_way_out(phone, monkeypatch, tag, named):
    monkeypatch.setattr(Film, "times_s", ())
    monkeypatch.setattr(Film, "tag", tag)
    with pytest.raises(ConfigError, match=rf"phone\.mp4: not one frame.*{named}.*ffmpeg -i \S*phone\.mp4 -c:v libx264"):
        open_frames(phone)


def test_h264_is_written_where_opencv_can(tmp_path, monkeypatch):
    tried = []

    def fourcc(*letters: str) -> int:
        tried.append("".join(letters))
        return original(*letters)

    original = cv2.VideoWriter_fourcc
    monkeypatch.setattr(cv2, "VideoWriter_fourcc", fourcc)
    video = Video(tmp_path / "film.mp4", 10.0)
    video.add(np.zeros((64, 96, 3), np.uint8), 0)
    video.close()
    assert tried[0] == "avc1" and tried in (["avc1"], ["avc1", "mp4v"])
    assert len(list(open_frames(tmp_path / "film.mp4").frames)) == 1


def test_frames_of_a_video_are_named_after_it(tmp_path):
    first: Frame = next(open_frames(write_video(tmp_path / "a.b.mp4", 2)).frames)
    assert (first.name, first.location) == ("a.b_000000", str(tmp_path / "a.b.mp4"))
