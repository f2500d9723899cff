"""How much memory this process may still use."""

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that are free on this machine and, in a container, within its limit."""
    available: int = psutil.virtual_memory().available
    limit = _number(CGROUP / "memory.max")
    used = _number(CGROUP / "memory.current")
    if limit is None or used is None:
        return available
    return max(min(available, limit - used + _file_cache()), 0)


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no such file or no limit in it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _file_cache() -> int:
    """Memory that only holds copies of files, and is given up when it is needed."""
    try:
        lines = (CGROUP / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
