"""Class names as plots can show them: in a font that has their letters, or else by number."""

import collections
import functools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib import font_manager

LONGEST_LABEL = 30
"""Characters of a label; longer ones would leave no room for the plot."""
_PREFERRED = ("Noto Sans", "CJK", "WenQuanYi", "Hiragino Sans", "YaHei", "Yu Gothic", "Malgun", "Arial Unicode")
"""Parts of the names of fonts for many languages, tried first."""
_UNUSABLE = ("Emoji",)
"""Parts of the names of fonts that matplotlib cannot draw."""
_MOST_SHARED = 20
"""Fonts of last resort have one glyph for many letters, a box. A glyph with more letters than this is such a box."""


class ClassLabels(NamedTuple):
    """How plots name the classes."""

    labels: dict[str, str]
    """The label of each class, by its name: the name itself, a shortened one, or its index, as in `class 3`."""
    fonts: tuple[str, ...]
    """Families, besides the usual one, that have letters of the names."""
    numbered: tuple[str, ...]
    """The names that no installed font has, or that are empty; they are labelled with their index."""


def class_labels(class_names: Sequence[str]) -> ClassLabels:
    """Choose labels and fonts for classes. The first call may search the installed fonts."""
    return _class_labels(tuple(class_names), tuple(matplotlib.rcParams["font.family"]))


@functools.lru_cache(maxsize=4)
def _class_labels(class_names: tuple[str, ...], families: tuple[str, ...]) -> ClassLabels:
    cleaned = {name: _cleaned(name) for name in class_names}
    fonts, missing = _fonts_for({letter for label in cleaned.values() for letter in label}, families)
    shortened = {name: _shortened(label) for name, label in cleaned.items()}
    uses = collections.Counter(shortened.values())
    numbered = [
        name
        for name, label in cleaned.items()
        if not label or uses[shortened[name]] > 1 or not missing.isdisjoint(label)
    ]
    prefix = "class "
    while any(label.startswith(prefix) for label in shortened.values()):  # a class may be named `class 1`
        prefix += "#"
    labels = shortened | {name: f"{prefix}{class_names.index(name)}" for name in numbered}
    return ClassLabels(labels, tuple(fonts), tuple(numbered))


def _cleaned(name: str) -> str:
    """The name in one line, without control characters and those that only change how others look."""
    letters = [letter for letter in " ".join(name.split()) if unicodedata.category(letter)[0] != "C"]
    return "".join(letter for letter in letters if not "\ufe00" <= letter <= "\ufe0f").strip()


def _shortened(label: str) -> str:
    if len(label) <= LONGEST_LABEL:
        return label
    end = LONGEST_LABEL // 3
    return f"{label[: LONGEST_LABEL - end - 1]}…{label[-end:]}"


def _fonts_for(letters: set[str], families: Sequence[str]) -> tuple[list[str], set[str]]:
    """Families that have letters which the given ones lack, and the letters that none has."""
    missing = {letter for letter in letters if not letter.isspace()}
    for family in families:
        missing -= _letters_of(family)
    found = []
    for family in _installed() if missing else ():
        if missing & (letters_of_font := _letters_of(family)):
            found.append(family)
            missing -= letters_of_font
        if not missing:
            break
    return found, missing


def _installed() -> Iterator[str]:
    """The families of all fonts that matplotlib can draw, those for many languages first."""
    usable = [family for family in _files() if not any(part in family for part in _UNUSABLE)]
    yield from sorted(usable, key=lambda family: (not any(part in family for part in _PREFERRED), family))


def _files() -> dict[str, str]:
    """The font files by family; of families without a regular face, `findfont` would log that another one is taken."""
    entries = font_manager.fontManager.ttflist
    return {entry.name: entry.fname for entry in entries if entry.weight in (400, "normal") and entry.style == "normal"}


def _letters_of(family: str) -> set[str]:
    try:
        is_generic = family in font_manager.font_family_aliases  # such as sans-serif
        path = font_manager.findfont(font_manager.FontProperties(family=[family])) if is_generic else _files()[family]
        glyphs = font_manager.get_font(path).get_charmap()
    except (KeyError, OSError, RuntimeError, ValueError):  # a font that cannot be read is of no use
        return set()
    uses = collections.Counter(glyphs.values())
    return {chr(code) for code, glyph in glyphs.items() if uses[glyph] <= _MOST_SHARED}
