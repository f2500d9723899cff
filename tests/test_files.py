"""Atomic writes, locks between processes, and checks of output folders before any work."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from yolox_jax.config import ConfigError
from yolox_jax.files import atomic_write, ensure_writable_folder, expand_home, has_lasting_cache, lock_file, user_cache

IMITATED_WINDOWS = """
import sys, threading, types
from pathlib import Path

held = threading.Lock()

def locking(descriptor, mode, num_bytes):
    assert (mode, num_bytes) == (2, 1)
    if not held.acquire(blocking=False):
        raise PermissionError(13, "Permission denied")

sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)

from yolox_jax.files import lock_file

with Path(sys.argv[1]).open("a+") as first, Path(sys.argv[1]).open("a+") as second:
    first.seek(2)
    lock_file(first)
    assert first.tell() == 2 and first.read() == "ntent"
    try:
        lock_file(second, wait=False)
    except BlockingIOError:
        print("refused")
    threading.Timer(0.3, held.release).start()
    lock_file(second)
    print("waited")
"""


def test_a_file_is_replaced_in_one_step_and_readable_like_any_other(tmp_path: Path) -> None:
    path, other = tmp_path / "a.json", tmp_path / "other"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert (path.read_text(), temporary.parent, temporary.suffix) == ("old", tmp_path, ".json")
    other.touch()
    assert path.read_text() == "new"
    assert path.stat().st_mode == other.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [path, other]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("num_written", [0, 3])
def test_an_error_while_writing_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, error, num_written: int) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        if num_written:
            temporary.write_text("new"[:num_written])
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]


def test_a_lock_is_held_until_the_file_is_closed(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []

    def wait_for_lock() -> None:
        with path.open("a") as file:
            lock_file(file)
            order.append("taken")

    with path.open("a") as first:
        lock_file(first)
        with path.open("a") as second, pytest.raises(BlockingIOError):
            lock_file(second, wait=False)
        thread = threading.Thread(target=wait_for_lock)
        thread.start()
        thread.join(0.2)
        order.append("closed")
    thread.join(10)
    assert order == ["closed", "taken"]


def test_without_fcntl_locks_come_from_msvcrt(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("content")
    command = [sys.executable, "-c", IMITATED_WINDOWS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["refused", "waited"], done.stderr
    assert path.read_text() == "content"


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


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a home folder; the temporary folder of the system."""

    def raise_error(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("home", "expanduser"):
        monkeypatch.setattr(Path, name, raise_error)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_folder_the_cache_is_temporary_and_one_warning_says_so(no_home: Path, caplog) -> None:
    folder = user_cache()
    assert user_cache() == folder and folder.parent == no_home and not has_lasting_cache()
    assert folder.stat().st_mode & 0o077 == 0, "others must not be able to replace what is kept"
    assert caplog.text.count("there is no home folder") == 1 and "Set XDG_CACHE_HOME" in caplog.text


def test_a_home_folder_in_which_nothing_can_be_written_is_as_none(tmp_path: Path, monkeypatch, caplog) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert user_cache().parent == tmp_path
    assert f"{tmp_path / 'file' / 'cache' / 'yolox_jax'} cannot be written" in caplog.text


def test_a_temporary_cache_of_another_user_is_not_trusted(no_home: Path, monkeypatch) -> None:
    theirs = no_home / "theirs"
    theirs.mkdir()
    (no_home / f"yolox_jax-{os.getuid()}").symlink_to(theirs)
    with pytest.raises(ConfigError, match="belongs to another user. Set XDG_CACHE_HOME"):
        user_cache()


def test_xdg_cache_home_stands_in_for_a_home_folder(no_home: Path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_home / "cache"))
    assert user_cache() == no_home / "cache" / "yolox_jax" and not caplog.text


def test_a_path_below_a_home_folder_that_does_not_exist_is_refused(no_home: Path) -> None:
    with pytest.raises(ConfigError, match="~/runs: there is no home folder to replace ~ with"):
        expand_home("~/runs")
