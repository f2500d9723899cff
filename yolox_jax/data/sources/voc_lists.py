"""Reads the image lists of Pascal VOC, one name a line, as people and programs write them."""

import codecs
import collections
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.image_formats import ALL_IMAGE_SUFFIXES
from yolox_jax.data.sources.checks import ErrorHandler
from yolox_jax.data.sources.foreign_paths import OTHER_SPELLING
from yolox_jax.data.sources.remarks import RemarkKind, Remarks
from yolox_jax.text import counted

NOT_ONLY_NAMES = RemarkKind(
    "image lists with folders or suffixes",
    "note",
    "They are read as the names alone, which is what VOC's lists hold. Other programs may refuse them.",
)

_INVALID = "invalid list of images"
_WITH_FLAG = re.compile(r"(\S.*?)\s+(-1|0|1)")
"""A line of the lists of a class: a name, and whether the class is in the image."""
_IMAGE_AND_XML = re.compile(rf"\S.*({'|'.join(map(re.escape, ALL_IMAGE_SUFFIXES))})\s+(\S.*\.xml)", re.IGNORECASE)
"""A line with two paths, as for PaddleDetection."""
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


def name_key(name: str) -> str:
    """Return a key that is equal for a name as typed and as a Mac stores it, with accents apart from their letters."""
    return unicodedata.normalize("NFC", name)


def is_left_by_system(name: str) -> bool:
    """Return whether a file is hidden or made by a system, such as `._a.xml`, which a Mac adds to archives."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Return names by their spelling without upper case, as far as only one name has it."""
    by_spelling: dict[str, list[str]] = {}
    for name in names:
        by_spelling.setdefault(name.casefold(), []).append(name)
    return {spelling: same[0] for spelling, same in by_spelling.items() if len(same) == 1}


class _Line(NamedTuple):
    number: int
    text: str

    def names(self, annotated: Mapping[str, Any], by_spelling: Mapping[str, str]) -> tuple[str, str]:
        """Return the annotated names that the whole line and its first column mean; empty if they mean none."""
        match = _WITH_FLAG.fullmatch(self.text)
        return _known(self.text, annotated, by_spelling), (_known(match[1], annotated, by_spelling) if match else "")


def read_list(
    root: Path, split: str, annotated: Mapping[str, Any], setting: str, errors: ErrorHandler, remarks: Remarks
) -> list[str]:
    """Read the names of a list, in order and without repetitions.

    The name is the whole line, unless the line ends in the second column of the lists of a class (1, 0 or -1). Which of
    the two is meant follows from the annotations. Folders and suffixes of images are dropped.

    Args:
        root: the folder of the dataset.
        split: the name of the list.
        annotated: has the names of all annotation files as keys, as `name_key` gives them.
        setting: prefix of the settings named in errors.
        errors: what to do about invalid lines.
        remarks: receives what is written oddly and read as meant.

    Raises:
        ConfigError: there is no such list.
        DataError: a line is not text or could mean two images, or an image is listed twice or has no annotations.
    """
    path = _path(root, split, setting)
    lines = [_Line(number, line.strip()) for number, line in enumerate(_text(path).splitlines(), start=1)]
    lines = [line for line in lines if line.text]
    names: list[str] = []
    unknown: list[str] = []
    by_spelling = spellings(annotated)
    of_a_class = all(_WITH_FLAG.fullmatch(line.text) for line in lines)
    for line in lines:
        with errors:
            name = _name(line, line.names(annotated, by_spelling), of_a_class, path)
            if name:
                names.append(name)
                _remark(line, name, path, remarks)
            elif not is_left_by_system(re.split(r"[/\\]", line.text)[-1]):
                unknown.append(line.text)
    with errors:
        _check_listed_once(names, path)
    with errors:
        _check_annotated(unknown, path, root / "Annotations")
    return list(dict.fromkeys(names))


def _path(root: Path, split: str, setting: str) -> Path:
    lists = root / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not path.is_file():
        entries = (entry.stem for entry in lists.glob("*.txt") if not is_left_by_system(entry.name))
        available = ", ".join(sorted(entries)) or "none"
        raise ConfigError(f"{setting}.split is {split!r}, but {path} does not exist. Available splits: {available}.")
    return path


def _text(path: Path) -> str:
    content = path.read_bytes()
    # PowerShell writes UTF-16 with a byte order mark.
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    # Names of files need not be UTF-8.
    return content.decode("utf-8-sig", errors="surrogateescape")


def _name(line: _Line, names: tuple[str, str], of_a_class: bool, path: Path) -> str:
    """Return the annotated name that a line means, of those of the whole line and its first column; empty if none."""
    whole, first = names
    if not whole and not first and any("\udc80" <= letter <= "\udcff" for letter in line.text):
        raise DataError(
            f"{path}: line {line.number} is not UTF-8 text, and no annotation file has its name. Save the list as "
            "UTF-8.",
            kind=_INVALID,
        )
    # Where a line has no second column, no line has one.
    if whole and first and of_a_class:
        raise DataError(
            f"{path}: line {line.number} is {line.text!r}, which is the image {whole!r}, or the image {first!r} with "
            "the second column of a list of a class. Rename one of them, or remove the second column from all lines.",
            kind=_INVALID,
        )
    return whole or first


def _known(text: str, annotated: Mapping[str, Any], by_spelling: Mapping[str, str]) -> str:
    readings = list(_readings(text))
    exact = (name for name in readings if name in annotated)
    others = (by_spelling[name.casefold()] for name in readings if name.casefold() in by_spelling)
    return next(exact, next(others, ""))


def _readings(text: str) -> Iterator[str]:
    """Yield the names that a text may mean: itself, without folders, and without a suffix."""
    pair = _IMAGE_AND_XML.fullmatch(text)
    for name in (text, re.split(r"[/\\]", text)[-1], *([re.split(r"[/\\]", pair[2])[-1]] if pair else [])):
        yield name_key(name)
        stem, _, suffix = name.rpartition(".")
        if f".{suffix.lower()}" in (*ALL_IMAGE_SUFFIXES, ".xml"):
            yield name_key(stem)


def _remark(line: _Line, name: str, path: Path, remarks: Remarks) -> None:
    match = _WITH_FLAG.fullmatch(line.text)
    written = (line.text, match[1]) if match else (line.text,)
    if not any(name in _readings(text) for text in written):
        remarks.add(OTHER_SPELLING, f"{path}: line {line.number}: {line.text!r} is read as {name!r}")
    elif name not in map(name_key, written):
        remarks.add(NOT_ONLY_NAMES, f"{path}: line {line.number}: {line.text!r} is read as {name!r}")


def _check_listed_once(names: list[str], path: Path) -> None:
    twice = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if twice:
        each = [f"{path} lists {name} more than once. List every image once." for name in twice]
        raise DataError(each[0], kind="images listed more than once", each=each)


def _check_annotated(unknown: list[str], path: Path, folder: Path) -> None:
    if unknown:
        raise DataError(
            f"{path} lists {counted(len(unknown), 'image')} without an annotation file in {folder}: "
            f"{', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}. Add the files, or remove these lines.",
            kind="images without annotations",
            each=[f"{path} lists {name!r}, but {folder} has no XML file of that name" for name in unknown],
        )
