"""Turns on huge pages: without them, XLA on CPUs spends a third of a training step on page faults."""

import os
import sys

TUNABLES = "glibc.malloc.hugetlb=1"
"""Makes glibc request 2 MiB pages (`madvise`) instead of 4 KiB pages from the kernel."""


def restart_with_huge_pages() -> None:
    """Restarts this program with `TUNABLES` in its environment, which glibc reads only at startup.

    On CPUs, XLA allocates and frees the memory of each step. YOLOX-nano at 320 px, batch size 16, on two cores: 1.48 s
    per step without huge pages, 0.92 s with them (one run each). Does nothing outside Linux, or if GLIBC_TUNABLES is
    set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
