"""Reads JSON, with errors that name the file and the position."""

import json
from pathlib import Path
from typing import Any

from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.values import as_number


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: it cannot be read or is not JSON; the message names the file and the position.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", kind="unreadable file") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}. "
            "Was it copied or downloaded completely?",
            kind="invalid JSON",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not JSON in UTF-8: {error}. Save the file in UTF-8", kind="invalid JSON") from error
    except (ValueError, RecursionError) as error:  # numbers with thousands of digits, or brackets nested as deeply
        raise DataError(f"{path} holds JSON that cannot be read: {error}", kind="invalid JSON") from error


def is_number(value: Any) -> bool:
    """Return whether a value from a JSON file is a number that fits into a float."""
    return not isinstance(value, str) and as_number(value) is not None
