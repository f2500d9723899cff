"""Paths of another system or machine lead to the one file that they can mean, and to none if two can be meant."""

import unicodedata
from pathlib import Path

import pytest

from yolox_jax.data.sources.foreign_paths import (
    BACKSLASHES,
    OTHER_FOLDER,
    OTHER_SPELLING,
    Located,
    locate_below,
    locate_files,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_path_that_exists_is_used_as_it_is(tmp_path: Path) -> None:
    names = ["a/1.jpg", "a\\1.jpg", "1%20.jpg", "0a1b2c3d-1.jpg"]
    touch(tmp_path, *names, "1 .jpg", "1.jpg")
    assert locate_files(tmp_path, names) == {name: Located(tmp_path / name, None) for name in names}


def test_folder_of_the_images_may_be_repeated(tmp_path: Path) -> None:
    touch(tmp_path / "images", "1.jpg", "2.jpg")
    located = locate_files(tmp_path / "images", ["images/1.jpg", "images/2.jpg"])
    assert located["images/2.jpg"] == Located(tmp_path / "images/2.jpg", OTHER_FOLDER)


def test_longest_end_of_a_path_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.jpg", "a/b/1.jpg", "1.jpg")
    assert locate_files(tmp_path, ["/x/a/b/1.jpg"])["/x/a/b/1.jpg"].path == tmp_path / "a/b/1.jpg"


@pytest.mark.parametrize(
    "names", [["x/1.jpg", "y/1.jpg"], ["1.jpg", "x/1.jpg"], ["2.JPG", "2.jPg"], ["0a1b2c3d-1.jpg", "1.jpg"]]
)
def test_file_that_two_names_could_mean_is_not_found(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    located = locate_files(tmp_path, names)
    assert {name: path for name, (path, kind) in located.items()} == {name: tmp_path / name for name in names}


def test_other_spelling_that_two_files_have_is_not_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "A.jpg")
    assert locate_files(tmp_path, ["a.JPG"])["a.JPG"].kind is None


def test_folder_that_lacks_most_of_the_files_is_not_the_one_meant(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    names = ["old/1.jpg", "old/2.jpg", "old/3.jpg"]
    assert all(kind is None for _, kind in locate_files(tmp_path, names).values())
    touch(tmp_path, "2.jpg")
    kinds = [kind for _, kind in locate_files(tmp_path, names).values()]
    assert kinds == [OTHER_FOLDER, OTHER_FOLDER, None]


def test_images_of_another_split_are_not_meant(tmp_path: Path) -> None:
    touch(tmp_path / "val", "1.jpg")
    assert locate_files(tmp_path / "val", ["train/1.jpg"])["train/1.jpg"].kind is None
    assert locate_files(tmp_path / "val", ["val/1.jpg"])["val/1.jpg"].kind is OTHER_FOLDER


def test_accents_may_be_stored_in_two_ways(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "café.jpg"))
    composed = unicodedata.normalize("NFC", "café.jpg")
    assert locate_files(tmp_path, [composed])[composed].kind is OTHER_SPELLING


def test_escapes_of_urls_are_decoded(tmp_path: Path) -> None:
    touch(tmp_path, "my photos/ü 1.jpg")
    name = "my%20photos\\%C3%BC%201.jpg"
    assert locate_files(tmp_path, [name])[name].path == tmp_path / "my photos/ü 1.jpg"


def test_paths_never_leave_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "secret.jpg", "images/1.jpg")
    name = "x\\..\\..\\secret.jpg"
    assert locate_files(tmp_path / "images", [name])[name].kind is None
    assert locate_below(tmp_path / "images", "x\\..\\..\\secret.jpg") is None


@pytest.mark.parametrize(
    "name", ["\ud800.jpg", "\ud800/1.jpg", "a\0b/1.jpg", "a\0.jpg", "x" * 300 + "/1.jpg", "%FF.jpg"]
)
def test_names_that_no_file_can_have_are_not_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "2.jpg")
    assert locate_files(tmp_path, [name])[name] == Located(tmp_path / name, None)


def test_backslashes_are_told_from_other_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    assert locate_files(tmp_path, ["a\\1.jpg"])["a\\1.jpg"] == Located(tmp_path / "a/1.jpg", BACKSLASHES)


@pytest.mark.parametrize("source", ["/content/p/train/images", "C:\\p\\train\\images", "C:/p/train/images"])
def test_longest_end_of_a_folder_is_found_below_another(tmp_path: Path, source: str) -> None:
    touch(tmp_path, "train/images/1.jpg", "images/2.jpg")
    assert locate_below(tmp_path, source) == tmp_path / "train/images"
    assert locate_below(tmp_path / "train", source) == tmp_path / "train/images"
    assert locate_below(tmp_path / "train/images", source) is None
    assert locate_below(tmp_path / "train/images", source, itself=True) == tmp_path / "train/images"
