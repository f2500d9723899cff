"""Finds the images that a data.yaml names for a split."""

import contextlib
import os
from pathlib import Path, PureWindowsPath
from typing import Any

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.image_formats import ALL_IMAGE_SUFFIXES, without_copies
from yolox_jax.data.sources.checks import ErrorHandler, check_images_exist, missing_files
from yolox_jax.data.sources.foreign_paths import (
    BACKSLASHES,
    OTHER_FOLDER,
    OTHER_SPELLING,
    Folders,
    locate_below,
    locate_files,
    path_parts,
)
from yolox_jax.data.sources.remarks import Remarks


class YoloPaths:
    """The paths of one data.yaml: where they start from, and what to do if they do not exist."""

    def __init__(
        self, data_yaml: Path, content: dict[str, Any], root: Path | None, setting: str, remarks: Remarks
    ) -> None:
        """Find the folder that paths start from.

        Args:
            data_yaml: the file.
            content: of the file.
            root: folder that its paths are relative to, instead of its key `path`.
            setting: prefix of the settings named in errors, such as `--data.train`.
            remarks: receive the paths that are read otherwise than they are written.
        """
        self._file, self._content, self._setting, self._remarks = data_yaml, content, setting, remarks
        self._given = root is not None
        # Unlike Path, os.path accepts unknown users and overlong names.
        path = os.path.expanduser(str(content.get("path") or ""))  # noqa: PTH111
        self._path = path
        self.root = (data_yaml.parent / path if root is None else root).absolute()

    def images(self, split: str, source: str, errors: ErrorHandler) -> list[str]:
        """Return the images of a folder or list.

        Args:
            split: the key that names it.
            source: the folder or list, as written.
            errors: what to do about missing files.

        Raises:
            ConfigError: it does not exist.
            DataError: a listed image does not exist.
        """
        path = self._find(split, source)
        if path.is_dir():
            return _images_in(path)
        if path.suffix == ".txt":
            return self._images_listed(path, errors)
        raise ConfigError(
            f"{self._setting}.annotations: {self._file} says {split}: {source}, but {path} is neither a folder nor a "
            ".txt list of images."
        )

    def _find(self, split: str, source: str) -> Path:
        path = self._resolve(source)
        if path is None:
            raise ConfigError(self._not_found(split, source))
        literal = self._literal(source)
        if path not in (literal, self.root / source.removeprefix("../")):
            slashed = Path(str(literal).replace("\\", "/"))
            is_spelling = path == self._in_other_spelling(source)
            kind = BACKSLASHES if path == slashed else OTHER_SPELLING if is_spelling else OTHER_FOLDER
            self._remarks.add(kind, f"{self._file}: {split}: {source} is read as {path}")
            self._check_apart(split, source, path)
        return path

    def _literal(self, source: str) -> Path:
        return self.root / os.path.expanduser(source)  # noqa: PTH111

    def _resolve(self, source: str) -> Path | None:
        """Return the folder or list that is meant; None if there is none."""
        literal = self._literal(source)
        # Roboflow writes ../train/images for a folder next to the data.yaml.
        for path in (literal, self.root / source.removeprefix("../"), Path(str(literal).replace("\\", "/"))):
            if os.path.exists(path):  # noqa: PTH110
                return path
        spelled = self._in_other_spelling(source)
        if spelled is not None:
            return spelled
        if self._given:
            return locate_below(self.root, source, itself=True)
        is_absolute = Path(source).is_absolute() or PureWindowsPath(source).is_absolute()
        return locate_below(self._file.parent.absolute(), source if is_absolute else f"{self._path}/{source}")

    def _in_other_spelling(self, source: str) -> Path | None:
        is_absolute = Path(source).is_absolute() or PureWindowsPath(source).is_absolute()
        return None if is_absolute else Folders().subfolder(self.root, path_parts(source.removeprefix("../")))

    def _check_apart(self, split: str, source: str, path: Path) -> None:
        """Check that a path that does not exist is not read as one that other splits use."""
        if self._given:
            return
        for other in ("train", "val", "test"):
            sources = self._content.get(other)
            for another in sources if isinstance(sources, list) else [sources]:
                if other == split or not isinstance(another, str) or another == source:
                    continue
                taken = self._resolve(another)
                if taken is not None and (taken.is_relative_to(path) or path.is_relative_to(taken)):
                    raise ConfigError(
                        f"{self._not_found(split, source)} {path} cannot be meant, because {other} uses it."
                    )

    def _not_found(self, split: str, source: str) -> str:
        says = f"{self._setting}.annotations: {self._file} says {split}: {source}, but"
        if self._given:
            end = "/".join(source.replace("\\", "/").strip("/").split("/")[-2:])
            return (
                f"{says} neither that path nor an end of it, such as {end}, exists below {self.root}. Correct the key "
                f"{split} of the file, or pass another folder as {self._setting}.images."
            )
        return (
            f"{says} {self._literal(source)} does not exist. Paths are relative to {self.root}. Correct the file, or "
            f"pass {self._setting}.images, a folder that contains the end of the path."
        )

    def _images_listed(self, path: Path, errors: ErrorHandler) -> list[str]:
        """Return the images of a list. Its paths are relative to its folder; if none exists there, to the root."""
        # Names of files need not be UTF-8.
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
        if "\0" in text:
            raise DataError(f"{path} is not a text file: it contains NUL", kind="invalid list of images")
        lines = text.splitlines()
        entries = {line.strip(): f"line {number}" for number, line in enumerate(lines, start=1) if line.strip()}
        start = path.parent if any((path.parent / entry).is_file() for entry in entries) else self.root
        located = locate_files(start, entries)
        for entry, (image, kind) in located.items():
            if kind is not None:
                self._remarks.add(kind, f"{path}, {entries[entry]}: {entry} is read as {image}")
        images = {located[entry].path: line for entry, line in entries.items()}
        flag_helps = self._given or any(not os.path.isabs(entry) for entry in entries)  # noqa: PTH117
        first = f"check {self._setting}.images" if flag_helps else "restore the files"
        missing = set(missing_files(images))
        # A list without any image is not worth checking further.
        with contextlib.nullcontext() if len(missing) == len(images) else errors:
            check_images_exist(images, str(path), f"{first}, or remove these lines from {path}")
        return [str(image) for image in images if image not in missing]


def _images_in(folder: Path) -> list[str]:
    """Return the images in a folder and its subfolders, without hidden ones, which systems and editors leave."""
    images: list[str] = []
    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # A link may point to a parent folder.
        if os.path.realpath(parent) in visited:
            folders.clear()
            continue
        visited.add(os.path.realpath(parent))
        images += [
            os.path.join(parent, name)  # noqa: PTH118 - a Path for each of 100,000 files takes a second
            for name in files
            if name.lower().endswith(ALL_IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    return without_copies(images)
