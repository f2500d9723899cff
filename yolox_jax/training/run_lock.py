"""Holds a run directory while a run trains in it, and removes what a failed start created there."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from types import TracebackType
from typing import IO

from yolox_jax.config import ConfigError
from yolox_jax.files import lock_file
from yolox_jax.training.run_directory import RunDirectory, saved_steps


class RunLock:
    """Prevents other processes from training in a run directory. Use it as a context manager.

    If the context ends with an error before anything was trained, the files and folders that the run created are
    removed, so that the same command works once its settings are corrected.
    """

    def __init__(self, run: RunDirectory) -> None:
        """Only notes what exists; `acquire` locks the directory once it is created."""
        self._run = run
        self._missing = [folder for folder in (run.root, *run.root.parents) if not os.path.exists(folder)]  # noqa: PTH110
        self._before = {path.name for path in (run.lock, run.checkpoints) if path.exists()}
        self._trained_before = _trained(run)
        self._file: IO[str] | None = None
        self._is_held = False
        """False also on a file system without locks."""

    def acquire(self) -> None:
        """Locks the directory, which must exist.

        Raises:
            ConfigError: another process is training there.
        """
        while self._file is None:
            try:
                self._run.root.mkdir(parents=True, exist_ok=True)
                file = self._run.lock.open("a+")
            except FileNotFoundError:  # a start that failed has just removed the folder
                continue
            self._is_held = self._try_to_lock(file)
            if self._is_held and not _is_at(self._run.lock, file):
                file.close()  # removed in the same way
                continue
            self._file = file
        if self._is_held:
            self._before |= {path.name for path in self._run.root.iterdir()} - {self._run.lock.name}
            self._file.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=self._file, flush=True)

    def _try_to_lock(self, file: IO[str]) -> bool:
        """Locks an open file; returns False on a file system without locks."""
        try:
            lock_file(file, wait=False)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read().strip()
            raise ConfigError(
                f"--workdir {self._run.root}: another process is training there ({holder}). Wait until it ends, or "
                "choose another folder"
            ) from None
        except OSError:
            return False
        return True

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        nothing_trained = error is not None and _trained(self._run) == self._trained_before
        if nothing_trained and self._file is not None:
            self._remove_new_files()
        if self._file is not None:
            self._file.close()
        if nothing_trained:
            # After closing: a network file system keeps an open file under another name.
            for folder in filter(Path.exists, self._missing):
                with contextlib.suppress(OSError):  # not empty: another run has started there
                    folder.rmdir()

    def _remove_new_files(self) -> None:
        """Removes what the start has written since the directory was locked, and the lock file last, while it is held.

        Without a lock, these may be the files of another run. Files of other names are not ours.
        """
        run = self._run
        written = (run.log, run.config, run.data, run.metrics, run.logger_ids, run.tensorboard, run.mlflow)
        new = [path for path in (*written, run.root / "wandb", run.checkpoints) if path.name not in self._before]
        for path in new if self._is_held else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self._run.checkpoints.name not in self._before:
            with contextlib.suppress(OSError):
                self._run.checkpoints.rmdir()
        if self._run.lock.name not in self._before:
            with contextlib.suppress(OSError):  # Windows does not remove an open file
                self._run.lock.unlink()


def _trained(run: RunDirectory) -> tuple[object, ...]:
    """What training steps have left in a run directory."""
    metrics = run.metrics.stat().st_size if run.metrics.exists() else 0
    return metrics, saved_steps(run.checkpoints), run.non_finite.exists()


def _is_at(path: Path, file: IO[str]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False
