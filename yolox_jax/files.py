"""Writing files: atomic replacement, locks between processes, writable folders, JSON."""

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from yolox_jax.config import ConfigError

logger = logging.getLogger("yolox_jax")

_WARNED_ABOUT: set[Path] = set()

LOCKED_BYTE = 2**30
"""Offset of the byte that stands for a whole file in a lock on Windows."""
LOCK_POLL_S = 0.1
"""Time between two attempts to take a lock on Windows."""


def ensure_writable_folder(folder: Path, setting: str) -> None:
    """Create a folder if it does not exist, and check that files can be created in it. The check leaves no file behind.

    Args:
        folder: the folder.
        setting: the name of the setting for the error message, such as `--output`.

    Raises:
        ConfigError: the path is a file, or the folder cannot be created or written to.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{setting} {folder} cannot be written to: it is a file, not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{setting} {folder} cannot be written to: {error.strerror}") from error


def check_writable_folder(folder: Path, setting: str) -> None:
    """Check as `ensure_writable_folder` does, but create nothing: a later check may still stop the command."""
    try:
        if folder.exists():
            ensure_writable_folder(folder, setting)
            return
        with tempfile.TemporaryFile(dir=next(parent for parent in folder.absolute().parents if parent.exists())):
            pass
    except OSError as error:
        raise ConfigError(f"{setting} {folder} cannot be written to: {error.strerror}") from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Replace a file in one step, so that no reader ever sees a part of it.

    Yields the path of a temporary file in the same folder, with the same suffix, for the body to create. At the end the
    temporary file is renamed to `path`. After an exception it is removed, and a file that was at `path` stays.

        with atomic_write(path) as temporary:
            temporary.write_text(text)

    The temporary file is called `.{stem}-{random}{suffix}`. Only a process that is killed while writing leaves it
    behind.

    Args:
        path: the file to write; its folder must exist.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def lock_file(file: IO[Any], *, wait: bool = True) -> None:
    """Take an exclusive lock on an open file. Closing the file, or the end of the process, releases it.

    Args:
        file: open for writing; its content and position do not change.
        wait: wait for the process or thread that holds the lock. Without it, raise at once.

    Raises:
        BlockingIOError: the lock is held elsewhere, and `wait` is False.
        OSError: the file system does not support locks.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        _lock_on_windows(file, wait=wait)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _lock_on_windows(file: IO[Any], *, wait: bool) -> None:
    import msvcrt

    locking, nonblocking = msvcrt.locking, msvcrt.LK_NBLCK  # type: ignore[attr-defined]
    position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    # Nobody can read a locked byte, so the lock is on one far behind the end of the file.
    os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
    try:
        while True:
            try:
                locking(file.fileno(), nonblocking, 1)
            except PermissionError as error:
                if not wait:
                    raise BlockingIOError(error.errno, "the file is locked") from error
                time.sleep(LOCK_POLL_S)  # msvcrt's own waiting ends after ten seconds
            else:
                return
    finally:
        os.lseek(file.fileno(), position, os.SEEK_SET)


def null_if_not_finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None; tuples become lists."""
    if isinstance(value, dict):
        return {key: null_if_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_if_not_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write a JSON file in UTF-8, without escaping non-ASCII letters.

    A lone surrogate, from a file name that is not valid UTF-8, is written as a JSON escape.

    Raises:
        ValueError: a number is not finite (see `null_if_not_finite`). Nothing is written.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def expand_home(path: str | Path) -> Path:
    """Replace a leading `~` by the home folder.

    Raises:
        ConfigError: the path begins with `~`, and there is no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no home folder to replace ~ with; pass the whole path") from error


def user_cache() -> Path:
    """Return the user's cache folder, for files that can be created again, such as downloaded weights.

    Without a home folder, or if nothing can be written there, as in containers that run under a user number, it is a
    temporary folder; a warning says so, once.
    """
    usual = _usual_cache()
    if usual is not None and _can_be_made(usual):
        return usual
    folder = _temporary_cache()
    if folder not in _WARNED_ABOUT:
        _WARNED_ABOUT.add(folder)
        why = "there is no home folder" if usual is None else f"{usual} cannot be written"
        logger.warning(
            "%s: downloads and compiled programs are kept in %s, which may not last. Set XDG_CACHE_HOME to a folder "
            "that does",
            why,
            folder,
        )
    return folder


def has_lasting_cache() -> bool:
    """Whether `user_cache` is the usual folder, and not a temporary one."""
    usual = _usual_cache()
    return usual is not None and _can_be_made(usual)


def _usual_cache() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolox_jax"
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def _can_be_made(folder: Path) -> bool:
    """Whether a folder exists, or can be created. An existing one may be read-only and still hold what is needed."""
    if folder.is_dir():
        return True
    try:
        existing = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
        return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    except OSError:  # a folder above must not even be looked at
        return False


def _temporary_cache() -> Path:
    """A folder in the system's temporary folder that only this user can write."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"yolox_jax-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and (folder.is_symlink() or folder.stat().st_uid != user):
        # Somebody else made it, and could replace what is kept there.
        raise ConfigError(f"{folder} belongs to another user. Set XDG_CACHE_HOME to a folder that can be written")
    return folder


def package_version() -> str:
    """The version of the installed package, which exported files state; "unknown" for a checkout merely on the path."""
    try:
        return importlib.metadata.version("yolox-jax")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
