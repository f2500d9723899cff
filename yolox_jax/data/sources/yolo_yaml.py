"""Reads a data.yaml as Ultralytics writes it: the classes, and the image files of a split."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.checks import ErrorHandler, check_images_exist

IMAGE_ENDINGS = (".avif", ".bmp", ".gif", ".heic", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
"""What is taken for an image in a folder; what of it cannot be decoded is named when it is read."""

_MALFORMED = "malformed names"


class Layout(NamedTuple):
    """What a data.yaml says of a split."""

    names: dict[int, str]
    """Class names by the id that label files write, ids ascending."""
    images: list[Path]
    """The image files, sorted, each once."""
    keypoints: bool
    """Whether the numbers of a line after the first five are keypoints rather than a polygon."""
    warnings: tuple[str, ...]


def read_layout(data_yaml: Path, split: str, root: Path | None, setting: str, errors: ErrorHandler) -> Layout:
    """Read a data.yaml and find the images of one of its splits.

    Args:
        data_yaml: the file.
        split: a key of it, such as `train`.
        root: folder that its paths start from, in place of the one that its key `path` names.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about unsound entries.

    Raises:
        ConfigError: a split or a path that is not there.
        DataError: the file is unsound, or lists images that do not exist, or none.
    """
    content = _load(data_yaml)
    sources = content.get(split)
    sources = sources if isinstance(sources, list) else [sources]
    if not sources or not all(isinstance(source, str) and source for source in sources):
        found = ", ".join(key for key in ("train", "val", "test") if content.get(key)) or "none"
        raise ConfigError(
            f"{setting}.split is {split!r}, but {data_yaml} names no images under this key: it takes a folder, a .txt "
            f"list of images, or several of these; splits found: {found}"
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
            f"no images: {data_yaml} says {split}: {', '.join(sources)}, and there is none in it, from {root}. Name a "
            f"folder or a list that has some, or check {setting}.images and {setting}.split",
            kind="no images",
        )
    repeated = len(images) - len(once)
    warnings = (f"images listed more than once, used once: {repeated}",) if repeated else ()
    return Layout(_names(content, data_yaml, errors), [Path(path) for path in once], "kpt_shape" in content, warnings)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise DataError(f"{path} is no valid YAML: {line}{error.problem}", kind="invalid YAML") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no valid YAML: {error}", kind="invalid YAML") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no data.yaml: it must hold the keys train, val and names", kind="invalid YAML")
    return content


def _names(content: dict[str, Any], path: Path, errors: ErrorHandler) -> dict[int, str]:
    """Class names by id, ids ascending."""
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DataError(
            f"{path} has no names: add the names of the classes, such as names: [cat, dog]", kind="no names"
        )
    for key, name in names.items():
        if isinstance(key, bool) or not isinstance(key, int) or key < 0:
            raise DataError(f"{path}: names has the class id {key!r}; ids are whole numbers from 0", kind=_MALFORMED)
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise DataError(f"{path}: the name of class {key} is {name!r}; put it in quotes", kind=_MALFORMED)
    found = {key: str(name) for key, name in sorted(names.items())}
    ids: dict[str, int] = {}
    with errors:
        for key, name in found.items():
            if ids.setdefault(name, key) != key:
                raise DataError(
                    f"{path}: classes {ids[name]} and {key} are both named {name!r}; give them names of their own",
                    kind="categories of the same name",
                )
        if content.get("nc", len(found)) != len(found):
            raise DataError(
                f"{path}: nc is {content['nc']}, but names has {len(found)} classes; correct one, or leave nc out",
                kind="a number of classes unlike that of their names",
            )
    return found


def _images_of(source: str, root: Path, says: str, setting: str, errors: ErrorHandler) -> list[str]:
    # os.path takes any text; Path fails on unknown users and on names that are too long.
    path = root / os.path.expanduser(source)  # noqa: PTH111
    # Roboflow writes ../train/images for a folder that lies beside the data.yaml.
    if not os.path.exists(path) and source.startswith("../"):  # noqa: PTH110
        path = root / source[3:]
    if os.path.isdir(path):  # noqa: PTH112
        return _images_in(path)
    exists = os.path.exists(path)  # noqa: PTH110
    if exists and path.suffix == ".txt":
        return _images_listed(path, root, setting, errors)
    what = "that is neither a folder nor a .txt list" if exists else f"there is no {path}"
    raise ConfigError(
        f"{setting}.annotations: {says}, but {what}. Paths start from {root}: correct the key path "
        f"there, or name the folder with {setting}.images"
    )


def _images_in(folder: Path) -> list[str]:
    """The images in a folder and all below; hidden ones are what systems and editors leave there."""
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # A link may lead to a folder that holds it.
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        found += [
            os.path.join(parent, name)  # noqa: PTH118 - a Path for each of 100,000 files takes a second
            for name in files
            if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")
        ]
    return found


def _images_listed(path: Path, root: Path, setting: str, errors: ErrorHandler) -> list[str]:
    """The images of a list, whose paths start from its folder, or from the root where they do not fit there."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: {error}", kind="invalid list of images") from error
    entries = {line.strip(): f"line {number}" for number, line in enumerate(lines, start=1) if line.strip()}
    start = path.parent if any((path.parent / entry).is_file() for entry in entries) else root
    found = {start / entry: line for entry, line in entries.items()}
    with errors:
        check_images_exist(found, str(path), f"{setting}.images")
    return [str(image) for image in found]
