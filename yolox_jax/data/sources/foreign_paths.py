"""Finds files whose paths were written on another machine or system.

A path that exists is used as it is. Otherwise it means the one file that it can mean: backslashes separate folders,
`%20` is a space, spaces around a name are left out, upper and lower case are the same, and the leading folders may be
those of another machine.
"""

import functools
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from yolox_jax.data.sources.remarks import RemarkKind

BACKSLASHES = RemarkKind(
    "paths with backslashes", "warning", "They are read with slashes. Other programs may not find these files."
)
OTHER_SPELLING = RemarkKind(
    "file names in another spelling",
    "warning",
    "They differ in upper and lower case or in the encoding of accents. Rename the files, because other programs may "
    "not find them.",
)
SPACES_AROUND = RemarkKind(
    "file names with spaces around them",
    "warning",
    "They are read without the spaces. Other programs may not find these files.",
)
OTHER_FOLDER = RemarkKind(
    "paths of another machine or folder",
    "warning",
    "They do not exist as written, so the files that match their ends are used. Correct the paths if other files are "
    "meant.",
)

_WEB_QUERY = re.compile(r"^.*\?d=|\?.*$")
"""Parts of a URL that are not the path; Label Studio serves local files as `/data/local-files/?d=PATH`."""
_UPLOAD_HASH = re.compile(r"^[0-9a-f]{8,64}(-|__)(?=.)")
"""Label Studio puts a hash before the names of uploaded files."""
_SPLIT = re.compile(r"^(train|val|test)")


class Located(NamedTuple):
    """Where a file is."""

    path: Path
    """The path as written if no file is found."""
    kind: RemarkKind | None
    """How the path differs from the one that is written; None if it does not, or if no file is found."""


def locate_files(root: Path, names: Iterable[str]) -> dict[str, Located]:
    """Find the files that annotations name.

    Folders are replaced for all files of a folder together, if most of them exist under the other folder. A file that
    two names could mean is not found.

    Args:
        root: folder that the names are relative to.
        names: paths as annotated.
    """
    folders = Folders()
    located = {name: Located(root / name, None) for name in names}
    missing: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, (path, _) in located.items():
        if path.name not in folders.names(path.parent):
            missing[path_parts(name)[:-1]].append(name)
    found = {
        name: path
        for parts, group in missing.items()
        for name, path in _locate_group(folders, root, parts, group).items()
    }
    lacking = {name for group in missing.values() for name in group}
    claims = Counter([*found.values(), *(place.path for name, place in located.items() if name not in lacking)])
    for name, path in found.items():
        if claims[path] == 1:
            located[name] = Located(path, _kind(root, name, path))
    return located


def locate_below(folder: Path, source: str, *, itself: bool = False) -> Path | None:
    """Return the longest end of a path that exists below a folder; None if there is none.

    Args:
        folder: where to look.
        source: a path of any system.
        itself: take the folder itself if nothing below it matches and its name is the last one of the path.
    """
    parts = path_parts(source)
    for tail in _tails(parts):
        path = folder.joinpath(*tail)
        if tail and os.path.exists(path):  # noqa: PTH110 - accepts overlong names
            return path
    return folder if itself and folder.name == parts[-1] else None


class Folders:
    """The names of the files in folders; each folder is listed once."""

    def __init__(self) -> None:
        self.names = functools.cache(file_names)
        self._spellings = functools.cache(self._list_spellings)

    def subfolder(self, root: Path, parts: tuple[str, ...]) -> Path | None:
        """Return a file or folder below a folder; each part may have another spelling, if only one entry has it."""
        folder: Path | None = root
        for part in parts:
            if folder is None:
                return None
            folder = self._find(folder, (part, part.strip()))
        return folder

    def file(self, folder: Path, name: str) -> Path | None:
        """Return the file of this name, or of the only other spelling of it, with or without the hash of an upload."""
        return self._find(folder, tuple(dict.fromkeys([name, name.strip(), _UPLOAD_HASH.sub("", name.strip())])))

    def _find(self, folder: Path, options: tuple[str, ...]) -> Path | None:
        for option in options:
            if option in self.names(folder):
                return folder / option
        for option in options:
            spellings = self._spellings(folder).get(_spelling_key(option), [])
            if len(spellings) == 1:
                return folder / spellings[0]
        return None

    def _list_spellings(self, folder: Path) -> dict[str, list[str]]:
        spellings: dict[str, list[str]] = defaultdict(list)
        for name in self.names(folder):
            spellings[_spelling_key(name)].append(name)
        return spellings


def file_names(folder: Path, *, folders: bool = True) -> frozenset[str]:
    """Return the names of the files in a folder; none if it does not exist, or its name is not possible.

    Args:
        folder: where to look.
        folders: include those of its subfolders.
    """
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if folders or not entry.is_dir())
    except (OSError, ValueError):  # ValueError: the name holds NUL or cannot be encoded
        return frozenset()


def _locate_group(folders: Folders, root: Path, parts: tuple[str, ...], group: list[str]) -> dict[str, Path]:
    """Return the files of the names in one folder, as far as they are found."""
    for tail in _tails(parts):
        folder = folders.subfolder(root, tail)
        if folder is None or (len(tail) < len(parts) and _other_split(parts, folder)):
            continue
        found = {name: folders.file(folder, path_parts(name)[-1]) for name in group}
        paths = {name: path for name, path in found.items() if path is not None}
        if paths and (tail == parts or 2 * len(paths) > len(group)):
            return paths
    return {}


def path_parts(name: str) -> tuple[str, ...]:
    """Return the folders and the file of a path of any system or URL."""
    path = name.replace("\\", "/")
    if "%" in path or "?" in path:
        path = unquote(_WEB_QUERY.sub("", path), errors="surrogateescape")
    return tuple(part for part in path.split("/") if part not in ("", ".")) or ("",)


def _tails(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the ends of a path that stay below a folder, longest first, and at last the folder itself."""
    first = max((place + 1 for place, part in enumerate(parts) if part == ".."), default=0)
    for start in range(first, len(parts) + 1):
        yield parts[start:]


def _other_split(parts: tuple[str, ...], folder: Path) -> bool:
    """Return whether a path is one of another split than a folder, such as train and val."""
    in_path, in_folder = (
        {match[0] for part in some if (match := _SPLIT.match(part.lower()))} for some in (parts, folder.parts[-2:])
    )
    return bool(in_path and in_folder) and not in_path & in_folder


def _spelling_key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _kind(root: Path, name: str, path: Path) -> RemarkKind:
    slashed = root / name.replace("\\", "/")
    if slashed == path:
        return BACKSLASHES
    stripped = root.joinpath(*(part.strip() for part in name.split("/")))
    if stripped == path:
        return SPACES_AROUND
    return OTHER_SPELLING if _spelling_key(str(slashed)) == _spelling_key(str(path)) else OTHER_FOLDER
