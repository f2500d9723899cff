"""Wording shared by several messages."""

from collections.abc import Sequence


def shortened(names: Sequence[str], most: int) -> str:
    """Lists the first `most` names, and counts the others.

    >>> shortened(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun in the singular or plural, which adds an s unless given.

    >>> counted(1, "image"), counted(0, "image"), counted(2, "box", "boxes")
    ('1 image', '0 images', '2 boxes')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {plural or noun + 's'}"
