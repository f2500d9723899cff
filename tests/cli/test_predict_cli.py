import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
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


def test_a_broken_image_is_named_and_the_others_are_done(weights, folder, tmp_path, capfd, caplog):
    (folder / "a.jpg").write_bytes(b"no image")
    assert predict(folder, "--weights", weights, "--output", tmp_path / "out") == 0
    assert "a.jpg" in caplog.text
    assert "1 of 3 images could not be read" in capfd.readouterr().out
    assert len(json.loads((tmp_path / "out/detections.json").read_text())) == 2


def test_if_no_image_can_be_read_the_command_fails(weights, tmp_path, capfd):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    assert predict(broken, "--weights", weights, "--output", tmp_path / "out") == 2
    assert "none of the 1 images" in capfd.readouterr().err


def test_originals_are_never_overwritten(weights, folder, capfd):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert predict(folder, "--weights", weights, "--output", folder) == 2
    assert "overwrite the original" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("film.mp4", "not an image or folder. Images end in .jpg"),
        ("0", "videos and cameras cannot be read yet"),
        ("missing.jpg", "there is no such file"),
        ("empty", "holds no images"),
    ],
)
def test_sources_that_are_no_images_are_refused_before_the_weights_are_read(tmp_path, capfd, source, message):
    (tmp_path / "film.mp4").write_bytes(b"film")
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
