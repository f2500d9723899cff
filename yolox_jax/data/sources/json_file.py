"""Reads JSON, with errors that say where it breaks off."""

import json
from pathlib import Path
from typing import Any

from yolox_jax.data.dataset import DataError


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read or is no JSON; the message names the file and the place.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", kind="unreadable file") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is no valid JSON: line {error.lineno}, column {error.colno}: {error.msg}. "
            "Was it copied or downloaded whole?",
            kind="invalid JSON",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no JSON text: {error}", kind="invalid JSON") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits; brackets nested as deep
        raise DataError(f"{path} holds JSON that cannot be read: {error}", kind="invalid JSON") from error


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number, and small enough for a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True
