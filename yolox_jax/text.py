"""Wording that several messages share."""

from collections.abc import Sequence


def shortened(names: Sequence[str], most: int) -> str:
    """The first `most` of some names, and how many more there are.

    >>> shortened(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
