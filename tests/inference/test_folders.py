"""Which files of a folder are images, and what is said about the others."""

import cv2
import numpy as np
import PIL.Image
import pytest

from videos import write_video
from yolox_jax.config import ConfigError
from yolox_jax.inference.input.sources import open_all, open_frames
from yolox_jax.inference.output_files import drawing_name

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def names(source) -> list[str]:
    return [frame.name for frame in open_frames(source).frames if frame.image is not None]


def test_all_formats_that_opencv_reads_are_read(tmp_path, caplog):
    for name in ("a.jpg", "b.avif", "c.gif", "d.jp2", "f.WEBP", "g.tif", "h.ppm"):
        (tmp_path / name).write_bytes(cv2.imencode(name[1:].lower(), PICTURE)[1].tobytes())
    for name in ("i.jfif", "j.mpo", "k.jpe"):
        (tmp_path / name).write_bytes(cv2.imencode(".jpg", PICTURE)[1].tobytes())
    assert names(tmp_path) == sorted(path.name for path in tmp_path.iterdir())
    assert not caplog.records
    for path in tmp_path.iterdir():
        assert drawing_name(path.name) == path.name, "drawings keep the name"
    assert drawing_name("scan.pgm") == "scan.pgm.png", "OpenCV writes no colours to it"


def test_files_left_out_are_counted_with_the_reason(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", PICTURE)[1].tobytes())
    for name in ("b.HEIC", "c.heic", "notes.txt", ".DS_Store", "Thumbs.db", "._a.png"):
        (tmp_path / name).touch()
    write_video(tmp_path / "film.mp4", 2)
    assert [frame.name for frame in open_frames(tmp_path).frames] == ["a.png"]
    (message,) = (record.getMessage() for record in caplog.records)
    assert "left out 2 .heic (OpenCV cannot read this format; convert to JPEG or PNG)" in message
    assert "1 video (pass each by itself)" in message and "1 .txt (not images)" in message
    assert "DS_Store" not in message and "._a" not in message


def test_videos_of_a_folder_are_sources_of_their_own(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", PICTURE)[1].tobytes())
    for name in ("one.mp4", "two.avi"):
        write_video(tmp_path / name, 2)
    for source in (str(tmp_path), f"{tmp_path}/*"):
        opened = open_all(source)
        assert [(one.name, one.total) for one in opened] == [("", 1), ("one", 2), ("two", 2)]
        for one in opened:
            one.close()
    assert not caplog.records
    (tmp_path / "a.png").unlink()
    assert [one.name for one in open_all(str(tmp_path))] == ["one", "two"]
    with pytest.raises(ConfigError, match=r"contains no images.*2 videos \(pass each by itself"):
        open_frames(tmp_path)


def test_a_folder_of_folders_says_how_to_search_them(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a.png").write_bytes(cv2.imencode(".png", PICTURE)[1].tobytes())
    with pytest.raises(ConfigError, match=rf"contains no images.*1 subfolder \(pass the pattern '{tmp_path}/\*\*/\*'"):
        open_frames(tmp_path)
    assert names(f"{tmp_path}/**/*") == ["a.png"]


def test_a_file_given_by_name_is_told_by_its_content(tmp_path):
    odd = tmp_path / "photo.img"
    odd.write_bytes(cv2.imencode(".jpg", PICTURE)[1].tobytes())
    assert names(odd) == [odd.name]
    assert drawing_name(odd.name) == "photo.img.png"
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(ConfigError, match=r"phone\.heic: OpenCV cannot.*convert to JPEG or PNG"):
        open_frames(tmp_path / "phone.heic")


def test_the_first_frame_of_an_animation_is_used_and_that_is_said_once(tmp_path, caplog):
    frames = [PIL.Image.fromarray(np.full((20, 30, 3), 60 * number, np.uint8)) for number in range(4)]
    for name in ("a.gif", "b.gif", "c.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    shown = [frame.image for frame in open_frames(tmp_path).frames]
    assert all(image.shape == (20, 30, 3) and image.max() < 10 for image in shown)
    (message,) = (record.getMessage() for record in caplog.records)
    assert "a.gif has 4 frames or pages; only the first is used" in message


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", PICTURE)[1].tobytes())
    monkeypatch.chdir(tmp_path)
    for opener in (open_frames, open_all):
        with pytest.raises(ConfigError, match="the source is empty"):
            opener("")
