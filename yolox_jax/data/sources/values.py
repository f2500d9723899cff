"""Values of annotation files that are not of the type their format asks for, but whose meaning is clear.

Programs write numbers and flags as text. Anything that could mean two things is no value.
"""

import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?", re.ASCII)
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True, "no": False, "yes": True}
LARGEST_SIDE = 2**31 - 1
"""No image is wider or higher than this, in px."""
_LARGEST_EXACT = 2**53
"""Floats represent all integers up to this one."""


def as_number(value: Any) -> int | float | None:
    """Return a number that fits into a float, or text that spells one; None for anything else.

    >>> as_number(2.5), as_number(" 2.5 "), as_number("2,5"), as_number(True)
    (2.5, 2.5, None, None)
    """
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        float(value)
    except OverflowError:
        return None
    return value


def as_integer(value: Any) -> int | None:
    """Return an integer, or a float or text that stands for one; None for anything else.

    >>> as_integer(7), as_integer(7.0), as_integer("7"), as_integer("007"), as_integer(7.5), as_integer(True)
    (7, 7, 7, 7, None, None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    return None


def as_flag(value: Any) -> bool | None:
    """Return what a flag says: a boolean, 0 or 1, or text for one of them. A missing value says no.

    >>> as_flag(1), as_flag("0"), as_flag("False"), as_flag(0.0), as_flag(None)
    (True, False, False, False, False)
    >>> as_flag(2), as_flag(""), as_flag("maybe")
    (None, None, None)
    """
    if value in (None, 0, 1):
        return bool(value)
    return _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
