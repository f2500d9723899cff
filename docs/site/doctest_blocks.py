"""Doctests in docstrings as blocks of code, wherever they stand (an extension of Griffe, which reads the docstrings).

By itself it recognises them in sections called "Examples" only.
"""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class DoctestBlocks(griffe.Extension):
    """Fences the doctests of every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Fences the doctests of an object."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(_fenced, obj.docstring.value)


def _fenced(doctest: re.Match[str]) -> str:
    code = re.sub(r"\s*# doctest: .*", "", doctest[0])
    return f"```pycon\n{code}\n```"
