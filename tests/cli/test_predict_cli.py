import collections
import errno
import json
import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from videos import SIZE, Camera, frame, left_edge, write_video
from yolox_jax.cli.main import main
from yolox_jax.config import ConfigError, ModelConfig
from yolox_jax.inference import predict as prediction
from yolox_jax.inference.input.sources import open_frames
from yolox_jax.inference.output_files import Video, json_entry, save_image
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    metadata = {"class_names": '["red", "blue"]', "input_size": "[64, 64]"}
    save_weights(path, export_state_dict(create_model("yolox_nano", 2)), metadata)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of noise, and a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.PNG", "c.webp"):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (40, 60, 3), np.uint8))
    (folder / "notes.txt").write_text("not an image")
    return folder


def predict(*words: str | Path) -> int:
    """One shape for all tests, the one that others of the session have too, so that it is compiled once."""
    return main(
        ["predict", *map(str, words), "--batch-size", "2", "--score-threshold", "1e-9", "--max-detections", "5"]
    )


def test_a_folder_gives_drawings_of_the_same_names_and_a_list(weights, folder, tmp_path):
    output = tmp_path / "out"
    assert predict(folder, "--weights", weights, "--output", output) == 0
    assert {path.name for path in output.iterdir()} == {"a.jpg", "b.PNG", "c.webp", "detections.json"}
    for name in ("a.jpg", "b.PNG", "c.webp"):
        assert cv2.imread(str(output / name)).shape == (40, 60, 3)
    entries = json.loads((output / "detections.json").read_text())
    assert [Path(entry["file"]).name for entry in entries] == ["a.jpg", "b.PNG", "c.webp"]
    assert (entries[0]["width"], entries[0]["height"]) == (60, 40)
    assert len(entries[0]["detections"]) == 5
    first = entries[0]["detections"][0]
    assert set(first) == {"class", "class_index", "score", "box_xyxy"}
    assert first["class"] == ("red", "blue")[first["class_index"]]
    assert len(first["box_xyxy"]) == 4


def test_detections_are_counted_by_class_for_each_source_and_in_total(weights, folder, tmp_path, capfd):
    film = write_video(tmp_path / "film.mp4", 2)
    assert predict(folder, film, "--weights", weights, "--output", tmp_path / "out", "--save", "json") == 0
    lines = capfd.readouterr().out.splitlines()
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    found = [one["class"] for entry in entries for one in entry["detections"]]
    counts = ", ".join(f"{count} {name}" for name, count in collections.Counter(found).most_common())
    assert f"25 detections in 5 images ({counts})" in lines[-2]
    assert lines[-4].startswith(f"3 images in {folder}: ") and lines[-3].startswith(f"{film}: ")


def test_a_folder_of_images_and_videos_is_predicted_whole(weights, folder, tmp_path, caplog):
    write_video(folder / "film.mp4", 2)
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out", "--save", "jsonl") == 0
    files = [json.loads(line)["file"] for line in (tmp_path / "out/detections.jsonl").read_text().splitlines()]
    assert [Path(file).name for file in files] == ["a.jpg", "b.PNG", "c.webp", "film.mp4", "film.mp4"]
    assert "1 .txt (not images)" in caplog.text


def test_a_size_may_stand_before_the_source(weights, folder, tmp_path):
    words = ("--input-size", "64", "64", folder / "a.jpg", "--weights", weights, "--output", tmp_path / "out")
    assert predict(*words, "--save", "json") == 0
    assert json.loads((tmp_path / "out/detections.json").read_text())


@pytest.mark.parametrize("words", [["--save", "json"], ["--classes", "red"], ["--scales", "1"]])
def test_flags_that_take_the_sources_for_their_own_say_so(folder, tmp_path, capfd, words):
    try:
        code = main(["predict", "--weights", "none.pth", "--output", str(tmp_path), *words, str(folder / "a.jpg")])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert (
        f"{words[0]} takes all words up to the next flag. Put images, folders and videos first"
        in capfd.readouterr().err
    )


def test_a_broken_image_is_named_and_the_others_are_done(weights, folder, tmp_path, capfd, caplog):
    (folder / "a.jpg").write_bytes(b"no image")
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out") == 0
    assert "a.jpg" in caplog.text
    assert "1 of 3 images could not be read" in capfd.readouterr().out
    assert len(json.loads((tmp_path / "out/detections.json").read_text())) == 2


def test_large_images_are_detected_in_tiles_too(weights, tmp_path):
    image, output = tmp_path / "large.png", tmp_path / "out"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (64, 160, 3), np.uint8))
    found = []
    for words in ((), ("--tile", "64", "--overlap", "0.5"), ("--tile", "auto", "--overlap", "0.5")):
        assert predict(image, "--weights", weights, "--output", output, "--save", "json", *words) == 0
        found.append(json.loads((output / "detections.json").read_text())[0]["detections"])
    assert found[0] != found[1] == found[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tile", "31"), "--tile must be the side of a tile, at least 32 px, or auto"),
        (("--tile", "6.4"), "--tile must be"),
        (("--tile", "64", "--overlap", "1"), "--overlap must be a fraction of a tile, at least 0 and below 1; got 1.0"),
        (("--overlap", "0.1"), "--overlap has no effect without --tile"),
    ],
)
def test_tiles_that_cannot_be_are_refused_before_the_weights_are_read(folder, tmp_path, capfd, words, message):
    assert predict(folder, "--weights", "none.pth", "--output", tmp_path / "out", *words) == 2
    assert message in capfd.readouterr().err


def test_if_no_image_can_be_read_the_command_fails(weights, tmp_path, capfd):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    assert predict(broken, "--weights", weights, "--output", tmp_path / "out") == 2
    assert "none of the 1 images could be read" in capfd.readouterr().err


def test_originals_are_never_overwritten(weights, folder, capfd):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert predict(folder, "--weights", weights, "--output", folder) == 2
    assert "overwrite the original" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("film.mp4", "cannot be opened as a video"),
        ("notes.txt", "unsupported format. Pass an image (.jpg"),
        ("missing.jpg", "no such file"),
        ("empty", "contains no images"),
    ],
)
def test_sources_that_are_no_images_are_refused_before_the_weights_are_read(tmp_path, capfd, source, message):
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / source, "--weights", "none.pth", "--output", tmp_path / "out") == 2
    error = capfd.readouterr().err
    assert message in error
    assert source in error
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused(folder, tmp_path, capfd):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    assert predict(folder, other, "--weights", "none.pth", "--output", tmp_path / "out") == 2
    assert "a.jpg" in capfd.readouterr().err


def test_an_output_that_is_a_file_is_refused(folder, capfd):
    assert predict(folder, "--weights", "none.pth", "--output", folder / "notes.txt") == 2
    assert "is a file" in capfd.readouterr().err
    assert (folder / "notes.txt").read_text() == "not an image"


def test_missing_weights_are_named(folder, tmp_path, capfd):
    assert predict(folder, "--weights", tmp_path / "none.pth", "--output", tmp_path / "out") == 2
    assert "none.pth" in capfd.readouterr().err


def test_wrong_flags_end_with_exit_code_2(capfd):
    with pytest.raises(SystemExit) as caught:
        main(["predict", "image.jpg", "--weight", "w", "--output", "out"])
    assert caught.value.code == 2
    assert "--weights" in capfd.readouterr().err


def test_a_video_gives_a_drawn_video_and_an_entry_a_frame(weights, tmp_path):
    film, output = write_video(tmp_path / "film.mp4", 7), tmp_path / "out"
    assert predict(film, "--weights", weights, "--output", output, "--save", "drawings", "json", "jsonl") == 0
    assert {path.name for path in output.iterdir()} == {"film.mp4", "detections.json", "detections.jsonl"}
    entries = json.loads((output / "detections.json").read_text())
    assert [entry["frame"] for entry in entries] == list(range(7))
    assert entries[5]["time_s"] == pytest.approx(0.5)
    assert [json.loads(line) for line in (output / "detections.jsonl").read_text().splitlines()] == entries
    drawn = [frame.image for frame in open_frames(output / "film.mp4").frames]
    assert len(drawn) == 7
    assert drawn[0].shape == (*SIZE, 3)
    assert any(np.abs(image.astype(int) - frame(number)).max() > 50 for number, image in enumerate(drawn)), "boxes"


def test_labels_and_crops_are_those_of_the_list(weights, folder, tmp_path):
    output = tmp_path / "out"
    assert predict(folder, "--weights", weights, "--output", output, "--save", "json", "yolo", "crops") == 0
    assert {path.name for path in output.iterdir()} == {"detections.json", "labels", "crops"}
    for entry in json.loads((output / "detections.json").read_text()):
        size = np.array([entry["width"], entry["height"]] * 2)
        boxes = np.clip([found["box_xyxy"] for found in entry["detections"]], 0, size)
        inside = ((boxes[:, 2:] - boxes[:, :2]) > 0.01).all(axis=1)
        stem = Path(entry["file"]).stem
        rows = np.loadtxt(output / "labels" / f"{stem}.txt", ndmin=2)
        centre, sides = rows[:, 1:3] * size[:2], rows[:, 3:5] * size[:2]
        np.testing.assert_allclose(np.hstack([centre - sides / 2, centre + sides / 2]), boxes[inside], atol=0.02)
        scores = np.array([found["score"] for found in entry["detections"]])
        np.testing.assert_allclose(rows[:, 5], scores[inside], atol=1e-4)
        for number, found in enumerate(entry["detections"]):
            x1, y1, x2, y2 = np.clip(np.round(found["box_xyxy"]), 0, size).astype(int)
            crop = output / "crops" / found["class"] / f"{stem}_{number}.jpg"
            assert crop.exists() == (x2 > x1 and y2 > y1)
            if crop.exists():
                assert cv2.imread(str(crop)).shape == (y2 - y1, x2 - x1, 3)


def test_only_the_classes_asked_for_are_listed(weights, folder, tmp_path, capfd):
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out", "--classes", "blue") == 0
    entries = json.loads((tmp_path / "out/detections.json").read_text())
    assert {found["class"] for entry in entries for found in entry["detections"]} == {"blue"}
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out", "--classes", "blu") == 2
    assert "did you mean 'blue'" in capfd.readouterr().err


def test_ctrl_c_ends_a_camera_with_whole_files(weights, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    taken = []

    def entry(*arguments):
        taken.append(arguments)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return json_entry(*arguments)

    monkeypatch.setattr(prediction, "json_entry", entry)
    output = tmp_path / "out"
    assert predict("0", "--weights", weights, "--output", output, "--save", "drawings", "json", "jsonl") == 0
    monkeypatch.undo()
    assert len(json.loads((output / "detections.json").read_text())) == 2
    assert len((output / "detections.jsonl").read_text().splitlines()) == 2
    first, last = (entry["frame"] for entry in json.loads((output / "detections.json").read_text()))
    assert len(list(open_frames(output / "camera_0.mp4").frames)) == last - first + 1, (
        "the video keeps the camera's timing"
    )
    assert "2 images" in capfd.readouterr().out
    assert not Camera.last.is_open


def test_a_camera_that_fails_ends_the_command_with_its_error_and_whole_files(weights, tmp_path, monkeypatch, capfd):
    codes, cameras, output = [], [], tmp_path / "out"

    def open_camera(source: int | str) -> Camera:
        cameras.append(Camera(source))
        return cameras[-1]

    monkeypatch.setattr(cv2, "VideoCapture", open_camera)
    monkeypatch.setattr(Camera, "fails_at", 40)
    words = ("0", "rtsp://here", "--weights", weights, "--output", output, "--save", "json", "jsonl")
    thread = threading.Thread(target=lambda: codes.append(predict(*words)), daemon=True)
    thread.start()
    thread.join(60)
    assert codes == [2]
    assert "camera 0: reading frame 40 failed: no memory left" in capfd.readouterr().err
    assert json.loads((output / "detections.json").read_text())
    assert [camera.is_open for camera in cameras] == [False, False], "the one that was not reached too"


def test_ctrl_c_before_the_first_frame_is_no_error(weights, tmp_path, monkeypatch, capfd):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(prediction, "predict", interrupted)
    assert predict("0", "--weights", weights, "--output", tmp_path / "out") == 0
    assert "0 images" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score-threshold", "45"], "score threshold 45.0: it must be between 0 and 1"),
        (["--iou-threshold", "0"], "IoU threshold 0.0: it must be above 0"),
        (["--iou-threshold", "45"], "IoU threshold 45.0: it must be above 0 and at most 1"),
        (["--batch-size", "0"], "batch size 0"),
        (["--max-detections", "0"], "number of detections 0"),
        (["--scales", "0"], "scales [0.0]"),
        (["--input-size", "100", "64"], "input size 100 x 64"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_weights_are_read(folder, tmp_path, capfd, words, message):
    assert main(["predict", str(folder), "--weights", "none.pth", "--output", str(tmp_path / "out"), *words]) == 2
    assert message in capfd.readouterr().err


def test_images_told_apart_by_their_endings_alone_are_refused_where_one_would_replace_another(
    weights, folder, tmp_path, capfd
):
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    for save in ("yolo", "crops"):
        assert predict(folder, "--weights", "none.pth", "--output", tmp_path / "out", "--save", save) == 2
        assert "several sources have the same name, such as a," in capfd.readouterr().err
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out", "--save", "drawings", "json") == 0


def test_lists_alone_may_lie_beside_the_images_and_name_several_of_one_name(weights, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    assert predict(folder, other, "--weights", weights, "--output", folder, "--save", "jsonl") == 0
    assert len((folder / "detections.jsonl").read_text().splitlines()) == 4


def test_labels_never_replace_the_annotations_of_the_images(weights, folder, tmp_path, capfd):
    annotations = tmp_path / "labels" / "a.txt"
    annotations.parent.mkdir()
    annotations.write_text("0 0.5 0.5 0.1 0.1\n")
    assert predict(folder, "--weights", weights, "--output", tmp_path, "--save", "yolo") == 2
    assert f"would overwrite {annotations}, the annotations of" in capfd.readouterr().err
    assert annotations.read_text() == "0 0.5 0.5 0.1 0.1\n"


def test_names_that_are_no_text_are_listed(weights, folder, tmp_path):
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")
    shutil.copy(folder / "a.jpg", odd)
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out") == 0
    assert [entry["file"] for entry in json.loads((tmp_path / "out/detections.json").read_text())][-1] == odd


def test_a_video_holds_what_was_done_before_a_failure(weights, tmp_path, monkeypatch, capfd):
    def save(path: Path, *_: object) -> None:
        if "000006" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prediction, "save_yolo", save)
    film, output = write_video(tmp_path / "film.mp4", 9), tmp_path / "out"
    assert predict(film, "--weights", weights, "--output", output, "--save", "drawings", "yolo") == 2
    assert f"the detections in film_000006 cannot be written to {output}" in capfd.readouterr().err
    assert len(list(open_frames(output / "film.mp4").frames)) == 6


def test_a_frame_stays_for_those_that_were_left_out(tmp_path):
    video = Video(tmp_path / "film.mp4", 10.0)
    for number in (7, 8, 12):
        video.add(frame(number), number)
    video.close()
    shown = [left_edge(one.image) for one in open_frames(tmp_path / "film.mp4").frames]
    np.testing.assert_allclose(shown, [14, 16, 16, 16, 16, 24], atol=1)


def test_a_video_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda _: False)
    video = Video(tmp_path / "film.mp4", 25.0)
    with pytest.raises(ConfigError, match="cannot encode H.264 or MPEG-4 Part 2 with 96x64 px and 25 frames/s"):
        video.add(frame(0), 0)
    video.close()


def test_an_image_too_large_for_its_format_is_left_out(tmp_path, caplog):
    save_image(tmp_path / "wide.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert "wide.jpg is not written" in caplog.text
    assert not (tmp_path / "wide.jpg").exists()


@pytest.mark.parametrize("name", ["missing.pth", "damaged.npz"])
def test_weights_that_cannot_be_read_leave_no_output_folder(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "damaged.npz").write_bytes(b"damaged")
    assert predict(folder, "--weights", tmp_path / name, "--output", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_suppression_is_asked_for_and_turned_off_where_it_suits_the_network(weights, folder, tmp_path, capfd):
    end_to_end = tmp_path / "end_to_end.safetensors"
    network = create_model(ModelConfig(variant="yolox_nano", end_to_end=True), 2)
    save_weights(end_to_end, export_state_dict(network), {"input_size": "[64, 64]"})
    for words, message in (
        ([weights, "--no-nms"], "nms turns non-maximum suppression off"),
        ([end_to_end, "--nms"], "nms asks for non-maximum suppression"),
        ([end_to_end, "--no-nms", "--flip"], "flip turns on test-time augmentation"),
    ):
        assert predict("--output", tmp_path / "out", "--weights", *words, folder / "a.jpg") == 2
        assert message in capfd.readouterr().err
    assert predict("--nms", folder / "a.jpg", "--weights", weights, "--output", tmp_path / "out") == 0
    assert "5 detections in 1 image" in capfd.readouterr().out
