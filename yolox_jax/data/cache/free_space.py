"""Whether there is room for a cache, in memory or on disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from yolox_jax.config import ConfigError

MOST_OF_THE_MEMORY = 0.9
"""A cache that would take more of the free memory than this is refused: training needs some too."""


def check_free_space(num_bytes: int, num_images: int, size: tuple[int, int], place: Literal["memory"] | Path) -> None:
    """Refuse a cache that does not fit.

    Args:
        num_bytes: that it takes.
        num_images: in it.
        size: largest height and width of these.
        place: memory, or a folder.

    Raises:
        ConfigError: with the figures, and what to do.
    """
    if place == "memory":
        free, where, kind = int(MOST_OF_THE_MEMORY * free_memory()), "of memory can be used", "ram"
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
    """A number of bytes, in GiB or MiB."""
    return f"{num_bytes / 2**30:.3g} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.3g} MiB"


def free_memory() -> int:
    """Bytes that are free on this machine and within the limits of the groups that this process is in."""
    free: int = psutil.virtual_memory().available
    for group in _groups():
        limit, used = _number(group.folder / group.limit), _number(group.folder / group.used)
        if limit is not None and used is not None:
            free = min(free, limit - used + _file_cache(group))
    return max(free, 0)


class _Group(NamedTuple):
    """A control group of Linux, as containers and Slurm use them to limit memory."""

    folder: Path
    limit: str
    used: str
    file_cache: str


def _groups(root: Path = Path("/sys/fs/cgroup"), list_of_this: Path = Path("/proc/self/cgroup")) -> Iterator[_Group]:
    """The groups of this process and those that hold them, of both versions that Linux has."""
    try:
        lines = list_of_this.read_text().splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the name is that of the host, where all that can be seen is the top.
        parts = Path(name).parts[1:]
        for depth in range(len(parts) + 1):
            yield _Group(top.joinpath(*parts[:depth]), *names)


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no such file or no limit in it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _file_cache(group: _Group) -> int:
    """Memory that only holds copies of files, and is given up when it is needed."""
    try:
        lines = (group.folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{group.file_cache} ")), 0)
