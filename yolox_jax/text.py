"""Wording shared by several messages."""

from collections.abc import Sequence

NOTICE = {"is_notice": True}
"""`extra` of a log record that warns of nothing: the command line prints it without its level."""


def shortened(names: Sequence[str], most: int) -> str:
    """Lists the first `most` names, and counts the others.

    >>> shortened(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun in the singular or plural; `plural` is needed where it is not the noun with s or es.

    >>> counted(1, "image"), counted(0, "image"), counted(2, "box"), counted(2, "entry", "entries")
    ('1 image', '0 images', '2 boxes', '2 entries')
    """
    regular = f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"
    return f"{count} {noun if count == 1 else plural or regular}"
