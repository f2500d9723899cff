"""Shared memory for the batches of worker processes, and what is said about a process that died."""

import collections
import errno
import logging
from pathlib import Path

import pytest

from yolox_jax.data.worker_processes import (
    BATCHES_IN_USE,
    BATCHES_PER_WORKER,
    LoadingError,
    explained,
    fits_shared_memory,
)

Usage = collections.namedtuple("Usage", "total used free")
NEEDED = 2**20 * (2 * BATCHES_PER_WORKER + BATCHES_IN_USE)


@pytest.mark.parametrize(("free", "fits"), [(NEEDED, True), (NEEDED - 1, False)])
def test_batches_of_all_workers_must_fit_into_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free: int, fits: bool
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(2**30, 0, free))
    with caplog.at_level(logging.WARNING):
        assert fits_shared_memory(2**20, 2, tmp_path) == fits
    assert fits == (not caplog.text)
    if not fits:
        assert "--data.num-workers 2: the batches need 10 MiB of shared memory" in (caplog.text)
        assert "--shm-size" in caplog.text


def test_systems_without_a_folder_of_shared_memory_have_no_limit(tmp_path: Path) -> None:
    assert fits_shared_memory(2**60, 2, tmp_path / "none")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (-7, ["shared memory in", "is full", "--shm-size", "--data.num-workers 0"]),
        (-9, ["SIGKILL", "memory of this machine", "--data.num-workers"]),
        (-11, ["SIGSEGV", "--data.num-workers 0"]),
        (3, ["exit code 3", "--data.num-workers 0"]),
    ],
)
def test_a_process_that_died_is_explained(tmp_path: Path, code: int, says: list[str]) -> None:
    text = f"Worker process was terminated unexpectedly with exit code {code}. Search the logs above for the source"
    error = explained(RuntimeError(text), tmp_path)
    assert isinstance(error, LoadingError)
    assert all(part in str(error) for part in says)


def test_full_shared_memory_is_explained_and_other_errors_stay(tmp_path: Path) -> None:
    assert str(tmp_path) in str(explained(OSError(errno.ENOSPC, "No space left on device"), tmp_path))
    for error in (RuntimeError("other"), FileNotFoundError(errno.ENOENT, "gone")):
        assert explained(error) is error
