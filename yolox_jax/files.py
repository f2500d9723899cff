"""Files that the package writes: JSON, and folders that can be written to."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

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


def null_if_not_finite(value: Any) -> Any:
    """`value` with null for NaN and infinities, which are no JSON; tuples become lists."""
    if isinstance(value, dict):
        return {key: null_if_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [null_if_not_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write a file of JSON, in letters of all languages.

    A name that is no text (a lone surrogate, from a file name that is not UTF-8) becomes an escape, which JSON has too.

    Raises:
        ValueError: a number is not finite (see `null_if_not_finite`); nothing is written.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def user_cache() -> Path:
    """Return the user's cache folder, for files that can be created again, such as downloaded weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolox_jax"
