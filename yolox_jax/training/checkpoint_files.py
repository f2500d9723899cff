"""Paths of checkpoints, and the files that the package keeps beside them."""

import json
import os
from pathlib import Path


def sizes_of(path: Path) -> Path:
    """The file with the sizes of a checkpoint's files, which reveals truncated ones before they are read."""
    return path.with_name(f"{path.name}.sizes.json")


def check_sizes(path: Path) -> None:
    """Checks the sizes of a checkpoint's files.

    Raises:
        ValueError: a file is truncated or gone.
    """
    if not sizes_of(path).exists():  # the disk was full when it should have been written
        return
    for name, size in json.loads(sizes_of(path).read_text()).items():
        found = (path / name).stat().st_size if (path / name).exists() else None
        if found != size:
            raise ValueError(f"{name} has {found} bytes instead of {size}" if found is not None else f"{name} is gone")


def misread_because(folder: Path) -> str | None:
    """Why Orbax or its storage would take the path of a folder for another one; None if they would not."""
    remote = ("gs", "s3", "az", "hf")
    name = str(folder)
    if any(part in {f"{scheme}:" for scheme in remote} for part in folder.parts) or folder.parts[1:2] in {
        (scheme,) for scheme in remote
    }:
        return "the path reads as remote storage, which is not supported"
    if "\\" in name and os.sep != "\\":
        return "the path contains a backslash"
    if "**" in name:
        return "the path contains **"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the path is not valid UTF-8"
    return None


def unused(path: Path) -> Path:
    """`path`, with a number appended if it exists."""
    candidates = [path, *(path.with_name(f"{path.name}.{number}") for number in range(2, 100))]
    return next(candidate for candidate in candidates if not candidate.exists())
