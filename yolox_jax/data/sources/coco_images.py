"""Finds the images of a COCO file: reads the first names in it, without parsing it, and looks in the usual folders."""

import itertools
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.data.sources.foreign_paths import locate_files

NUM_NAMES = 50
"""Names that are looked for; enough to recognise a folder of images."""
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


def image_names(annotations: Path, most: int = NUM_NAMES) -> list[str]:
    """Return the first file names of images in a JSON file, with `/` between folders; none if it is not COCO's layout.

    Parsing the annotations of COCO takes seconds; this reads no more than is needed.
    """
    try:
        with annotations.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            names = [match[1] for match in itertools.islice(_FILE_NAME.finditer(content), most)]
        return [str(json.loads(name)).replace("\\", "/") for name in names]
    except (OSError, ValueError):  # such as an empty file, which cannot be mapped
        return []


def image_folder(annotations: Path, setting: str) -> Path:
    """Return the folder that holds the images of a COCO file, or most of the first ones.

    Looks beside the file, in folders named after it, and in `images` here and one level up.

    Args:
        annotations: the JSON file.
        setting: the flag that names the folder, for the message.

    Raises:
        ConfigError: the file names no images, they are in none of these folders, or in several.
    """
    names = image_names(annotations)
    if not names:
        raise ConfigError(f"{annotations} is not in COCO layout: it names no image file ('file_name').")
    folders = list(_image_folders(annotations))
    hits = {folder: _num_files(folder, names) for tier in folders for folder in tier}
    if not any(hits.values()):  # the names may be paths of another machine, which the reader resolves likewise
        hits = {folder: _num_located(folder, names) for folder in hits}
    most = max(hits.values())
    if not most:
        raise ConfigError(
            f"the images of {annotations} are not in any of {_listed(hits)}; the first is {names[0]}. "
            f"Pass their folder with {setting}."
        )
    best = next(found for tier in folders if (found := [folder for folder in tier if hits[folder] == most]))
    if len({folder.resolve() for folder in best}) > 1:
        raise ConfigError(
            f"{_listed(best)} hold the same number of the images of {annotations}. Pass the right one with {setting}."
        )
    return best[0]


def _image_folders(annotations: Path) -> Iterator[list[Path]]:
    """Yield where the images of a JSON file usually are, the most specific places first."""
    here = annotations.parent
    above = here.resolve().parent if here.name in ("", "..") else here.parent
    parts = [part for part in re.split(r"[_.\-\s]+", annotations.stem) if part]
    named = dict.fromkeys(word for part in parts for word in (part, part.rstrip("0123456789")) if word)
    named = dict.fromkeys([annotations.stem, *named])
    yield [
        folder
        for word in named
        for place in (here, above)
        for folder in (place / word, place / "images" / word, place / word / "images")
        if folder.is_dir() and word not in ("images", "annotations", "labels")
    ]
    yield [here, here / "images", here / "JPEGImages"]
    yield [above / "images", above / "JPEGImages", above]


def _num_files(folder: Path, names: list[str]) -> int:
    # Unlike Path, os.path accepts overlong names.
    return sum(os.path.isfile(folder / name) for name in names)  # noqa: PTH113


def _num_located(folder: Path, names: list[str]) -> int:
    return sum(located.kind is not None for located in locate_files(folder, names).values())


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths))
