"""Checks that a cache fits into memory or on disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from yolox_jax.config import ConfigError

MAX_MEMORY_SHARE = 0.9
"""Largest share of the free memory that a cache may take; training needs the rest."""


def check_free_space(num_bytes: int, num_images: int, size: tuple[int, int], place: Literal["memory"] | Path) -> None:
    """Check that a cache fits.

    Args:
        num_bytes: size of the cache.
        num_images: number of images in it.
        size: largest height and width of the images in px.
        place: memory, or a folder.

    Raises:
        ConfigError: it does not; the message gives the figures and the alternatives.
    """
    if place == "memory":
        free, where, kind = int(MAX_MEMORY_SHARE * free_memory()), "of memory can be used", "ram"
        instead = "Use --data.cache disk to keep them on disk"
    else:
        free, where, kind = shutil.disk_usage(place).free, f"is free in {place}", "disk"
        instead = "Pass another --data.cache-dir"
    if num_bytes > free:
        raise ConfigError(
            f"--data.cache {kind}: {num_images} images of at most {size[1]}x{size[0]} px need "
            f"{format_bytes(num_bytes)}, but only {format_bytes(free)} {where}. {instead}, or use --data.cache none to "
            "decode them each time."
        )


def format_bytes(num_bytes: int) -> str:
    """Format a number of bytes in GiB or MiB."""
    return f"{num_bytes / 2**30:.3g} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.3g} MiB"


def free_memory(cgroup_root: Path = Path("/sys/fs/cgroup"), cgroup_list: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes that this process can still allocate.

    That is the free memory of the machine, or what the limits of the process's control groups leave, if that is less.
    Containers and Slurm limit memory with control groups.

    Args:
        cgroup_root: where the control groups are mounted.
        cgroup_list: the file that lists the groups of this process.
    """
    free: int = psutil.virtual_memory().available
    for group in _groups(cgroup_root, cgroup_list):
        limit, used = _read_number(group.folder / group.limit), _read_number(group.folder / group.used)
        if limit is not None and used is not None:
            free = min(free, limit - used + _reclaimable(group))
    return max(free, 0)


class _Group(NamedTuple):
    """A control group of Linux, and its files, whose names differ between versions 1 and 2."""

    folder: Path
    limit: str
    used: str
    file_cache: str
    """The key in its `memory.stat`."""


def _groups(root: Path, list_file: Path) -> Iterator[_Group]:
    """Yield the control groups of this process and their parents, of both versions."""
    try:
        lines = list_file.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the name is the one on the host, while only the top folder is visible.
        parts = Path(name).parts[1:]
        for depth in range(len(parts) + 1):
            yield _Group(top.joinpath(*parts[:depth]), *names)


def _read_number(path: Path) -> int | None:
    """Return the number in a file; None if the file does not exist or says that there is no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _reclaimable(group: _Group) -> int:
    """Return the bytes of file cache, which the system frees when memory is needed."""
    try:
        lines = (group.folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{group.file_cache} ")), 0)
