"""Reads a data.yaml in the format of Ultralytics: the classes, and the image files of a split."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.checks import ErrorHandler
from yolox_jax.data.sources.remarks import NUMBERS_AS_TEXT, RemarkKind, Remarks
from yolox_jax.data.sources.values import as_integer
from yolox_jax.data.sources.yolo_paths import YoloPaths
from yolox_jax.text import counted

NAMES_AS_TEXT = RemarkKind(
    "class names written as one text", "warning", "It is split at commas. Write a list, such as names: [cat, dog]."
)
NAMES_AS_KEYS = RemarkKind(
    "class ids written as names", "warning", "They are read the other way round. Write names: {0: cat, 1: dog}."
)
REPEATED_IMAGES = RemarkKind("images named more than once", "warning", "They are used once.")

_MALFORMED = "malformed names"


class Layout(NamedTuple):
    """The content of a data.yaml for one split."""

    names: dict[int, str]
    """Class names by the id used in label files, ids ascending."""
    images: list[Path]
    """The image files, sorted and without repetitions."""
    keypoints: bool | None
    """Whether the numbers of a line after the first five are keypoints, not a polygon; None if the file does not say.

    `kpt_shape: null` says that they are polygons."""
    remarks: Remarks
    """What was read otherwise than it is written."""


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
    remarks = errors.start_remarks()
    paths = YoloPaths(data_yaml, content, root, setting, remarks)
    images = [image for source in sources for image in paths.images(split, source, errors)]
    once = sorted(set(images))
    if not once:
        raise DataError(
            f"no images: {data_yaml} says {split}: {', '.join(sources)}, but there are none in {paths.root}. Name a "
            f"folder or a list with images, or check {setting}.images and {setting}.split",
            kind="no images",
        )
    for image, count in Counter(images).items():
        if count > 1:
            remarks.add(REPEATED_IMAGES, f"{data_yaml}: {split}: {image}")
    names = _names(content, data_yaml, errors, remarks)
    keypoints = content["kpt_shape"] is not None if "kpt_shape" in content else None
    return Layout(names, [Path(path) for path in once], keypoints, remarks)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise DataError(f"{path} is not valid YAML: {line}{error.problem}", kind="invalid YAML") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Save the file as UTF-8", kind="invalid YAML") from error
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: a number with thousands of digits, or a date like 2024-13-01
        raise DataError(f"{path} is not valid YAML: {error}", kind="invalid YAML") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a data.yaml: it must have the keys train, val and names", kind="invalid YAML")
    return content


def _names(content: dict[str, Any], path: Path, errors: ErrorHandler, remarks: Remarks) -> dict[int, str]:
    """Return the class names by id, ids ascending."""
    names = _listed_names(content, path, remarks)
    class_names: dict[int, str] = {}
    for key, name in names.items():
        number = as_integer(key)
        if number is None or number < 0 or number in class_names:
            raise DataError(f"{path}: names has the class id {key!r}; ids must be integers from 0", kind=_MALFORMED)
        if isinstance(key, str):
            remarks.add(NUMBERS_AS_TEXT, f"{path}: names: class id {key!r}")
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise DataError(f"{path}: the name of class {key} is {name!r}; put it in quotes", kind=_MALFORMED)
        class_names[number] = str(name)
    ids: dict[str, int] = {}
    with errors:
        for key, name in sorted(class_names.items()):
            if ids.setdefault(name, key) != key:
                raise DataError(
                    f"{path}: classes {ids[name]} and {key} are both named {name!r}. Give them different names",
                    kind="categories of the same name",
                )
        _check_number(content.get("nc"), len(class_names), path, remarks)
    return dict(sorted(class_names.items()))


def _listed_names(content: dict[str, Any], path: Path, remarks: Remarks) -> dict[Any, Any]:
    """Return the names by id as written."""
    names = content.get("names")
    if isinstance(names, str) and names.strip():
        names = _split_names(names, content.get("nc"), path)
        remarks.add(NAMES_AS_TEXT, f"{path}: names: {', '.join(names)}")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DataError(f"{path} has no names. Add the class names, such as names: [cat, dog]", kind="no names")
    ids = [as_integer(value) for value in names.values()]
    if all(isinstance(key, str) and as_integer(key) is None for key in names) and set(ids) == set(range(len(names))):
        remarks.add(NAMES_AS_KEYS, f"{path}: names: {', '.join(names)}")
        names = dict(zip(ids, names, strict=True))
    return names


def _split_names(text: str, number: Any, path: Path) -> list[str]:
    """Return the names in a text, separated by commas."""
    names = [name.strip() for name in text.strip().strip(",").split(",")]
    is_file = len(names) == 1 and re.search(r"[/\\]|\.(names|txt|ya?ml|json)$", names[0])
    # One name with spaces may as well be several names.
    unclear = len(names) == 1 and len(names[0].split()) > 1 and as_integer(number) != 1
    if is_file or unclear or not all(names) or re.search(r"[\[\]{}\n:]", text.strip()):
        raise DataError(
            f"{path}: names is the text {text[:60]!r}. Write the class names as a list, such as names: [cat, dog]",
            kind=_MALFORMED,
        )
    return names


def _check_number(given: Any, num_names: int, path: Path, remarks: Remarks) -> None:
    number = num_names if given is None else as_integer(given)
    if number is None:
        raise DataError(
            f"{path}: nc must be the number of classes; got {given!r}. Correct it, or remove nc", kind=_MALFORMED
        )
    if isinstance(given, str):
        remarks.add(NUMBERS_AS_TEXT, f"{path}: nc {given!r}")
    if number != num_names:
        raise DataError(
            f"{path}: nc is {number}, but names has {counted(num_names, 'class', 'classes')}. Correct one, or remove "
            "nc",
            kind="mismatched number of classes",
        )
