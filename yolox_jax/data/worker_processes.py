"""Processes that load batches: what they set up, the shared memory that they pass batches in, and how they end."""

import errno
import logging
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

import cv2

from yolox_jax.data.cache.free_space import format_bytes
from yolox_jax.data.dataset import DataError

SHARED_MEMORY = Path("/dev/shm")
BATCHES_PER_WORKER = 4
"""Batches that grain keeps in shared memory for each worker, as measured: one that is made, one in the queue, and those
read ahead."""
BATCHES_IN_USE = 2
"""Batches that the training step holds besides."""
_WAYS_OUT = (
    "Enlarge it (docker run --shm-size 8g; --ipc=host; on Kubernetes, an emptyDir with medium: Memory at /dev/shm), or "
    "pass --data.num-workers 0 to load in threads."
)

logger = logging.getLogger("yolox_jax.data")


class LoadingError(DataError):
    """A process that loads batches ended; the message says why and what to do."""


def fits_shared_memory(batch_bytes: int, num_workers: int, folder: Path = SHARED_MEMORY) -> bool:
    """Return whether the batches of all workers fit into shared memory, of which containers have little.

    Memory is taken when it is first written to, and a process that finds none left is killed by SIGBUS. Logs a warning
    if the batches do not fit.

    Args:
        batch_bytes: size of a batch.
        num_workers: number of processes.
        folder: where the shared memory is; elsewhere than on Linux it does not exist, and has no limit of its own.
    """
    if not folder.is_dir():
        return True
    needed = batch_bytes * (BATCHES_PER_WORKER * num_workers + BATCHES_IN_USE)
    free = shutil.disk_usage(folder).free
    if needed <= free:
        return True
    logger.warning(
        "--data.num-workers %d: the batches need %s of shared memory, but only %s are free in %s. They are passed "
        "through pipes instead, which is slower. %s",
        num_workers, format_bytes(needed), format_bytes(free), folder, _WAYS_OUT,
    )  # fmt: skip
    return False


def explained(error: Exception, folder: Path = SHARED_MEMORY) -> Exception:
    """Return an error that says why a worker died; any other error is returned as it is.

    Args:
        error: raised by grain.
        folder: where the shared memory is.
    """
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return LoadingError(_full(folder), kind="full shared memory")
    match = re.match(r"Worker process was terminated .* exit code (-?\d+)", str(error))
    if match is None:
        return error
    code = int(match[1])
    if code == -signal.SIGBUS:
        return LoadingError(_full(folder), kind="full shared memory")
    if code == -signal.SIGKILL:
        return LoadingError(
            "a process that loads images was killed (SIGKILL), most likely because the memory of this machine or "
            "container ran out. Pass a smaller --data.num-workers, or 0 to load in threads.",
            kind="killed process",
        )
    how = f"by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"with exit code {code}"
    return LoadingError(
        f"a process that loads images ended {how}; its own messages are above. Pass --data.num-workers 0 to load in "
        "threads of the main process.",
        kind="killed process",
    )


def _full(folder: Path) -> str:
    usage = f" ({format_bytes(shutil.disk_usage(folder).total)} in all)" if folder.is_dir() else ""
    return f"the shared memory in {folder}{usage}, through which batches are passed, is full. {_WAYS_OUT}"


def start_worker(index: int, count: int) -> None:
    """Set up a worker: it ignores signals, ends with the run, uses one OpenCV thread and no accelerator."""
    # Terminals and Slurm signal all processes, but the main process decides when to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_main_process, daemon=True).start()
    cv2.setNumThreads(0)
    os.environ["JAX_PLATFORMS"] = "cpu"
    # grain has imported jax, which has already read the environment.
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")


def _exit_with_main_process() -> None:
    """Exit when the main process ends. If it is killed, it cannot close its workers, which would wait forever."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)
