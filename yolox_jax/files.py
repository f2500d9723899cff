"""Finds out whether a folder can be written to before any work is done for it."""

import tempfile
from pathlib import Path

from yolox_jax.config import ConfigError


def ensure_writable_folder(folder: Path, setting: str) -> None:
    """Make a folder if it is missing, and see that files can be made in it; none is left behind.

    Args:
        folder: the folder.
        setting: what the message calls it, such as `--output`.

    Raises:
        ConfigError: the folder is a file, or cannot be made or written to.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{setting} {folder} cannot be written to: it is a file, not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{setting} {folder} cannot be written to: {error.strerror}") from error
