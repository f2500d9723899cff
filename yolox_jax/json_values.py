"""Values as JSON can hold them, and files of them."""

import json
import math
from pathlib import Path
from typing import Any


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
