"""Tracking in a made-up film: two squares that cross each other's way, and one that is hidden for some frames."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from videos import Camera
from yolox_jax.cli.main import main
from yolox_jax.config import ConfigError
from yolox_jax.inference import tracking
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.draw import draw_detections
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame
from yolox_jax.inference.input.sources import open_frames
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights

HAS_TRACKERS = importlib.util.find_spec("trackers") is not None
needs_trackers = pytest.mark.skipif(not HAS_TRACKERS, reason="needs trackers: pip install 'yolox-jax[track]'")
NUM_FRAMES, RATE, SIDE = 40, 20.0, 24
HIDDEN = range(15, 21)
GREYS = (80, 160, 240)


def squares(number: int) -> dict[int, list[int]]:
    """By identity, the boxes in px of the squares that are visible in a frame."""
    corners = {0: (4 * number, 40), 1: (170 - 4 * number, 50), 2: (60 + number, 100 - number // 2)}
    if number in HIDDEN:
        del corners[2]
    return {identity: [x, y, x + SIDE, y + SIDE] for identity, (x, y) in corners.items()}


def detections_of(boxes: dict[int, list[int]], order) -> ImageDetections:
    """Perfect detections; the class is not the identity, so that it tells the tracker nothing."""
    found = [boxes[identity] for identity in order]
    return ImageDetections(
        boxes=np.array(found, np.float32).reshape(-1, 4),
        scores=np.full(len(found), 0.9, np.float32),
        classes=np.zeros(len(found), np.int32),
        class_names=("square",) * len(found),
        image_size=(150, 200),
        all_class_names=("square",),
    )


@needs_trackers
@pytest.mark.parametrize("timed", [False, True])
def test_objects_keep_their_ids_where_they_cross_and_are_hidden(timed):
    tracker = tracking.Tracker("bytetrack", frame_rate=RATE)
    rng = np.random.default_rng(0)
    ids: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    for number in range(NUM_FRAMES):
        boxes = squares(number)
        order = rng.permutation(list(boxes)).tolist()
        detections = detections_of(boxes, order)
        tracked = tracker.update(detections, number / RATE if timed else None)
        np.testing.assert_array_equal(tracked.boxes, detections.boxes)
        for identity, track_id in zip(order, tracked.track_ids.tolist(), strict=True):
            if number > 0:  # in its first frame, an object may be a mistake
                ids[identity].add(track_id)
    assert all(len(one) == 1 for one in ids.values()), ids
    assert len(set.union(*ids.values())) == 3 and -1 not in set.union(*ids.values())


@needs_trackers
def test_frames_without_detections_have_no_ids_and_unsure_detections_begin_no_track():
    tracker = tracking.Tracker("bytetrack", frame_rate=RATE)
    assert tracker.update(detections_of({}, [])).track_ids.tolist() == []
    unsure = ImageDetections(
        boxes=np.array([[0, 0, 9, 9]], np.float32),
        scores=np.array([0.3], np.float32),
        classes=np.zeros(1, np.int32),
        class_names=("square",),
    )
    for _ in range(5):
        assert tracker.update(unsure).track_ids.tolist() == [-1]
    assert tracker.update(detections_of({}, [])).track_ids.tolist() == []


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (200, 150))
    for number in range(NUM_FRAMES):
        image = np.zeros((150, 200, 3), np.uint8)
        for identity, (x1, y1, x2, y2) in squares(number).items():
            image[y1:y2, max(x1, 0) : max(x2, 0)] = GREYS[identity]
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    metadata = {"class_names": '["square", "other"]', "input_size": "[64, 64]"}
    save_weights(path, export_state_dict(create_model("yolox_nano", 2)), metadata)
    return path


def perfect_stream(_, source):
    """In place of `Detector.stream`."""
    for frame in source.frames:
        boxes = squares(frame.number)
        yield frame, detections_of(boxes, list(boxes))


@needs_trackers
def test_predict_writes_the_ids_of_each_video_and_draws_them(film, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "stream", perfect_stream)
    monkeypatch.setattr(Detector, "warm_up", lambda *_: 0.0)
    second = tmp_path / "second.avi"
    second.write_bytes(film.read_bytes())
    words = ["--weights", str(weights), "--output", str(tmp_path / "out"), "--track", "bytetrack"]
    assert main(["predict", str(film), str(second), *words]) == 0
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert len(entries) == 2 * NUM_FRAMES
    for video in (entries[:NUM_FRAMES], entries[NUM_FRAMES:]):
        ids = [[one["track_id"] for one in entry["detections"]] for entry in video]
        assert ids[0] == [None, None, None]
        first = ids[1]
        assert sorted(first) == [0, 1, 2], "they start anew with each video"
        assert all(own == (first[:2] if number in HIDDEN else first) for number, own in enumerate(ids) if number)
    drawn, again = ([*open_frames(tmp_path / f"out/{name}.mp4").frames] for name in ("film", "second"))
    assert len(drawn) == len(again) == NUM_FRAMES


@needs_trackers
def test_frames_that_a_camera_dropped_count_as_time_that_passed(weights, tmp_path, monkeypatch):
    def with_a_gap(_, source):
        for number in (*range(10), 29):
            x = 3 * number  # at last too far from its place before the gap to overlap
            yield (
                Frame(f"0_{number:06d}", np.zeros((150, 400, 3), np.uint8), number=number),
                detections_of({0: [x, 40, x + 40, 80]}, [0]),
            )

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Detector, "stream", with_a_gap)
    monkeypatch.setattr(Detector, "warm_up", lambda *_: 0.0)
    words = ["--weights", str(weights), "--output", str(tmp_path), "--save", "json", "--track", "bytetrack"]
    assert main(["predict", "0", *words]) == 0
    entries = json.loads((tmp_path / "detections.json").read_text())
    assert [entry["detections"][0]["track_id"] for entry in entries] == [None] + [0] * 10


def tracked_detections() -> ImageDetections:
    return ImageDetections(
        boxes=np.array([[5, 30, 40, 60], [50, 30, 90, 60]], np.float32),
        scores=np.array([0.9, 0.8], np.float32),
        classes=np.zeros(2, np.int32),
        class_names=("square", "square"),
        image_size=(150, 200),
        all_class_names=("square",),
        track_ids=np.array([7, -1]),
    )


def test_ids_follow_their_detections_into_selections_dicts_and_drawings():
    found = tracked_detections()
    assert [one.track_id for one in found] == [7, None]
    assert found[[1, 0]].track_ids.tolist() == [-1, 7] and found.filter(score=0.85).track_ids.tolist() == [7]
    assert [one["track_id"] for one in found.to_dicts()] == [7, None]
    assert "track_id" not in detections_of({0: [0, 0, 9, 9]}, [0]).to_dicts()[0]
    image = np.zeros((150, 200, 3), np.uint8)
    arguments = (image, found.boxes, found.scores, found.classes)
    with_ids = draw_detections(*arguments, all_class_names=("square",), track_ids=found.track_ids)
    without = draw_detections(*arguments, all_class_names=("square",))
    np.testing.assert_array_equal(found.plot(image), with_ids)
    assert (with_ids[:, :45] != without[:, :45]).any(), "the label of the first has its id"
    np.testing.assert_array_equal(
        draw_detections(*arguments, all_class_names=("square",), track_ids=np.array([-1, -1])), without
    )


def test_images_cannot_be_tracked_and_say_so_before_the_weights_are_read(film, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: name)
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((9, 9, 3), np.uint8))
    words = ["--weights", "none.pth", "--output", str(tmp_path / "out"), "--track", "bytetrack"]
    for source in (tmp_path / "image.png", tmp_path):
        assert main(["predict", str(source), *words]) == 2
        assert "--track bytetrack follows objects through the frames of a video" in (error := capfd.readouterr().err)
        assert "image.png is an image" in error
    assert not (tmp_path / "out").exists()


def test_without_the_package_the_extra_is_named_before_the_weights_are_read(film, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    words = ["--weights", "none.pth", "--output", str(tmp_path / "out"), "--track", "bytetrack"]
    assert main(["predict", str(film), *words]) == 2
    assert "--track bytetrack needs the package trackers: pip install 'yolox-jax[track]'" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="yolox-jax.track"):
        tracking.Tracker("bytetrack", 25.0)
