"""Reads a data.yaml in the format of Ultralytics: the classes, and the image files of a split."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.image_formats import IMAGE_SUFFIXES
from yolox_jax.data.sources.checks import ErrorHandler, check_images_exist

IMAGE_ENDINGS = (*IMAGE_SUFFIXES, ".heic")
"""Suffixes of image files in a folder; a file that cannot be decoded is reported when it is loaded."""

_MALFORMED = "malformed names"


class Layout(NamedTuple):
    """The content of a data.yaml for one split."""

    names: dict[int, str]
    """Class names by the id used in label files, ids ascending."""
    images: list[Path]
    """The image files, sorted and without repetitions."""
    keypoints: bool
    """Whether the numbers of a line after the first five are keypoints, not a polygon."""
    warnings: tuple[str, ...]


def read_layout(data_yaml: Path, split: str, root: Path | None, setting: str, errors: ErrorHandler) -> Layout:
    """Read a data.yaml and find the images of one of its splits.

    Args:
        data_yaml: the file.
        split: a key of the file, such as `train`.
        root: folder that its paths are relative to, instead of its key `path`.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about invalid entries.

    Raises:
        ConfigError: a split or a path does not exist.
        DataError: the file is invalid, or lists no images or images that do not exist.
    """
    content = _load(data_yaml)
    sources = content.get(split)
    sources = sources if isinstance(sources, list) else [sources]
    if not sources or not all(isinstance(source, str) and source for source in sources):
        available = ", ".join(key for key in ("train", "val", "test") if content.get(key)) or "none"
        raise ConfigError(
            f"{setting}.split is {split!r}, but {data_yaml} names no images under this key. It takes a folder, a .txt "
            f"list of images, or several of these. Available splits: {available}."
        )
    if root is None:
        root = data_yaml.parent / os.path.expanduser(str(content.get("path") or ""))  # noqa: PTH111
    root = root.absolute()
    images: list[str] = []
    for source in sources:
        images += _images_of(source, root, f"{data_yaml} says {split}: {source}", setting, errors)
    once = sorted(set(images))
    if not once:
        raise DataError(
            f"no images: {data_yaml} says {split}: {', '.join(sources)}, but there are none in {root}. Name a folder "
            f"or a list with images, or check {setting}.images and {setting}.split",
            kind="no images",
        )
    repeated = len(images) - len(once)
    warnings = (f"ignored {repeated} repeated entries of images",) if repeated else ()
    return Layout(_names(content, data_yaml, errors), [Path(path) for path in once], "kpt_shape" in content, warnings)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise DataError(f"{path} is not valid YAML: {line}{error.problem}", kind="invalid YAML") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML: {error}", kind="invalid YAML") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a data.yaml: it must have the keys train, val and names", kind="invalid YAML")
    return content


def _names(content: dict[str, Any], path: Path, errors: ErrorHandler) -> dict[int, str]:
    """Return the class names by id, ids ascending."""
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DataError(f"{path} has no names. Add the class names, such as names: [cat, dog]", kind="no names")
    for key, name in names.items():
        if isinstance(key, bool) or not isinstance(key, int) or key < 0:
            raise DataError(f"{path}: names has the class id {key!r}; ids must be integers from 0", kind=_MALFORMED)
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise DataError(f"{path}: the name of class {key} is {name!r}; put it in quotes", kind=_MALFORMED)
    class_names = {key: str(name) for key, name in sorted(names.items())}
    ids: dict[str, int] = {}
    with errors:
        for key, name in class_names.items():
            if ids.setdefault(name, key) != key:
                raise DataError(
                    f"{path}: classes {ids[name]} and {key} are both named {name!r}. Give them different names",
                    kind="categories of the same name",
                )
        if content.get("nc", len(class_names)) != len(class_names):
            raise DataError(
                f"{path}: nc is {content['nc']}, but names has {len(class_names)} classes. Correct one, or remove nc",
                kind="mismatched number of classes",
            )
    return class_names


def _images_of(source: str, root: Path, says: str, setting: str, errors: ErrorHandler) -> list[str]:
    # Unlike Path, os.path accepts unknown users and overlong names.
    path = root / os.path.expanduser(source)  # noqa: PTH111
    # Roboflow writes ../train/images for a folder next to the data.yaml.
    if not os.path.exists(path) and source.startswith("../"):  # noqa: PTH110
        path = root / source[3:]
    if os.path.isdir(path):  # noqa: PTH112
        return _images_in(path)
    exists = os.path.exists(path)  # noqa: PTH110
    if exists and path.suffix == ".txt":
        return _images_listed(path, root, setting, errors)
    problem = "that is neither a folder nor a .txt list" if exists else f"{path} does not exist"
    raise ConfigError(
        f"{setting}.annotations: {says}, but {problem}. Paths are relative to {root}. Correct the key "
        f"path of the file, or pass {setting}.images."
    )


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
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")
        ]
    return images


def _images_listed(path: Path, root: Path, setting: str, errors: ErrorHandler) -> list[str]:
    """Return the images of a list. Its paths are relative to its folder; if none exists there, to the root."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file: {error}", kind="invalid list of images") from error
    entries = {line.strip(): f"line {number}" for number, line in enumerate(lines, start=1) if line.strip()}
    start = path.parent if any((path.parent / entry).is_file() for entry in entries) else root
    images = {start / entry: line for entry, line in entries.items()}
    with errors:
        check_images_exist(images, str(path), f"{setting}.images")
    return [str(image) for image in images]
