"""Huge pages, without which XLA on a CPU spends a third of a training step on page faults."""

import os
import sys

TUNABLES = "glibc.malloc.hugetlb=1"
"""glibc asks the kernel for 2 MiB pages (`madvise`) in place of 4 KiB ones."""


def restart_with_huge_pages() -> None:
    """Starts this program over with `TUNABLES` in its environment, which glibc reads at the start alone.

    On a CPU, XLA takes the memory of each step anew and gives it back. YOLOX-nano at 320 px, batch 16, on two cores:
    1.48 s a step without huge pages, 0.92 s with them (one run each). Does nothing outside
    Linux, or where GLIBC_TUNABLES is set.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
