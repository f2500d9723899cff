"""Prints sentences so that a terminal does not break them inside words."""

import shutil
import sys
import textwrap
from typing import Any


def say(text: str, file: Any = None) -> None:
    """Prints text, wrapped at blanks on a terminal and as it is elsewhere.

    Args:
        text: one or several lines; words longer than a line, such as paths, stay whole.
        file: a text stream; by default `sys.stdout`.
    """
    file = sys.stdout if file is None else file
    if file.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(_wrapped(line, width) for line in text.split("\n"))
    print(text, file=file)


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
