"""Runs programs with an allocator that keeps freed memory, because XLA on CPUs frees the memory of a step after it."""

import os
import sys
from pathlib import Path

LIBRARY = Path("cmeel.prefix", "lib", "libmimalloc.so")
"""Where the package cmeel-mimalloc puts the library, in a folder of `sys.path`."""
KEPT_MS = "60000"
"""How long mimalloc keeps freed memory: longer than the pause between two steps."""
HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Makes glibc request pages of 2 MiB (`madvise`) instead of 4 KiB from the kernel."""


def restart_with_allocator() -> None:
    """Restarts this program with `allocator_variables` in its environment, which are read only when a program starts.

    glibc returns large blocks to the kernel when they are freed, and gets them back page by page, filled with zeros.
    Of a step of YOLOX-nano at 416 px, batch size 4, this took half of the CPU time with pages of 4 KiB, and a sixth
    with pages of 2 MiB (docs/performance.md). Does nothing outside Linux, or if LD_PRELOAD or GLIBC_TUNABLES is set,
    even to nothing.
    """
    if sys.platform == "linux" and not {"LD_PRELOAD", "GLIBC_TUNABLES"} & os.environ.keys():
        os.environ.update(allocator_variables())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def allocator_variables() -> dict[str, str]:
    """The environment variables that select mimalloc if it is installed, else glibc with large pages."""
    for folder in sys.path:
        library = str(Path(folder, LIBRARY).absolute())
        # LD_PRELOAD cannot hold these.
        if not set(library) & set(" :") and Path(library).is_file():
            return {"LD_PRELOAD": library, "MIMALLOC_PURGE_DELAY": KEPT_MS}
    return {"GLIBC_TUNABLES": HUGE_PAGES}
