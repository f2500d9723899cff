"""Folders are seen to be writable before the work, and stay as they were."""

from pathlib import Path

import pytest

from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder


def test_a_missing_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    ensure_writable_folder(tmp_path / "a" / "b", "--output")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_files_that_lie_there_stay(tmp_path: Path) -> None:
    (tmp_path / ".write_test").write_text("mine")
    ensure_writable_folder(tmp_path, "--output")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("inside", "why"), [("", "it is a file, not a folder"), ("new", "Not a directory")])
def test_a_file_in_the_way_is_named(tmp_path: Path, inside: str, why: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=f"--output .*/file.* cannot be written to: {why}"):
        ensure_writable_folder(tmp_path / "file" / inside, "--output")


def test_a_write_protected_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        (tmp_path / "probe").mkdir()
    except PermissionError:
        pass
    else:
        pytest.skip("root may write anywhere")
    with pytest.raises(ConfigError, match="cannot be written to: Permission denied"):
        ensure_writable_folder(tmp_path, "--output")
