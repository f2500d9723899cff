"""Saves and restores runs. No other module uses Orbax."""

import contextlib
import glob
import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from yolox_jax.config import ConfigError
from yolox_jax.files import atomic_write, write_json
from yolox_jax.text import shortened
from yolox_jax.training.checkpoint_files import check_sizes, misread_because, sizes_of, unused
from yolox_jax.training.distributed import on_every_process
from yolox_jax.training.run_directory import saved_steps
from yolox_jax.training.state_differences import state_differences
from yolox_jax.training.step.state import TrainState, repacked, unpacked

logger = logging.getLogger("yolox_jax.training")

TRIAL = "trial"
"""Name of the small checkpoints that are only written to try out the folder."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read. The message names the checkpoint and the reason."""


class Progress(NamedTuple):
    """What a checkpoint holds besides the train state.

    Data loading has no state to save: it depends only on the seed and the step.
    """

    best_value: float | None = None
    """Highest value so far of the figure `evaluation.best_by`; None before the first evaluation."""
    best_epoch: int | None = None
    """Epoch of that evaluation, counted from 1."""
    best_step: int | None = None
    """Steps done at that evaluation."""
    evaluated_step: int = 0
    """Steps done at the newest evaluation that this progress includes."""
    evaluations_since_best: int = 0
    """Consecutive evaluations that were not better than the best."""
    pending: list[dict[str, float]] = []  # noqa: RUF012  (never changed in place)
    """Metrics of the steps since the last report."""
    devices: int | None = None
    """Number of devices of the run."""
    processes: int | None = None
    """Number of processes of the run."""
    device_kind: str | None = None
    """Kind of device, as jax names it."""
    jax_version: str | None = None


class Checkpoints:
    """The newest checkpoints of a run and the one of its best evaluation.

    A checkpoint is written in the background, to a temporary folder that is renamed once it is complete. If writing
    fails, training continues and the previous checkpoint remains. All processes of a run must make the same calls. Use
    it as a context manager, which waits for the last checkpoint on exit.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        """Keeps the `keep` newest checkpoints; removes incomplete ones that a killed run left in `folder`.

        Raises:
            ConfigError: checkpoints that are saved in `folder` cannot be read back.
        """
        self._folder, self._keep = folder.absolute(), keep
        self._best: int | None = None
        self._saving: int | None = None
        self._failure: str | None = None
        if jax.process_index() == 0:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        _wait_for_the_first_process("incomplete checkpoints are removed")
        # With OCDBT, Orbax finds what to merge by a glob pattern that begins with the path of the checkpoint.
        self._use_ocdbt = glob.escape(str(self._folder)) == str(self._folder)
        with contextlib.ExitStack() as opened:
            logging.getLogger("absl").addFilter(self._is_worth_logging)
            opened.callback(logging.getLogger("absl").removeFilter, self._is_worth_logging)
            on_every_process(self._try_saving)
            self._opened = opened.pop_all()
        handler = ocp.CompositeCheckpointHandler(
            state=ocp.StandardCheckpointHandler(use_ocdbt=self._use_ocdbt), progress=ocp.JsonCheckpointHandler()
        )
        noting_sizes = ocp.AsyncOptions(post_finalization_callback=self._note_sizes)
        self._checkpointer = ocp.AsyncCheckpointer(handler, async_options=noting_sizes)

    def _try_saving(self) -> None:
        """Saves a small checkpoint on the first process and reads it back, because Orbax misreads some paths."""
        if jax.process_index() > 0:
            return
        cannot = f"--workdir: checkpoints cannot be saved in {ascii(str(self._folder))[1:-1]}"
        if reason := misread_because(self._folder):
            raise ConfigError(f"{cannot}: {reason}. Choose another folder")
        alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix=TRIAL)
        handler = ocp.StandardCheckpointHandler(use_ocdbt=self._use_ocdbt, multiprocessing_options=alone)
        path, trial = self._folder / f"{TRIAL}-{os.getpid()}", {"numbers": np.arange(3)}
        try:
            with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
                checkpointer.save(path, args=ocp.args.StandardSave(trial))
                checkpointer.restore(path, args=ocp.args.StandardRestore(trial))
        except Exception as error:
            raise ConfigError(
                f"{cannot}: a small one could not be written and read back ({str(error)[:200]}). Choose another folder"
            ) from error
        finally:
            for left in self._folder.glob(f"{path.name}*"):
                shutil.rmtree(left, ignore_errors=True)

    def _is_worth_logging(self, record: logging.LogRecord) -> bool:
        # Without OCDBT there is nothing to merge.
        return self._use_ocdbt or "Skipping merge of OCDBT checkpoints" not in str(record.msg)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, in ascending order."""
        return saved_steps(self._folder)

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint; None if there is none."""
        return max(self.steps(), default=None)

    def keep_best(self, step: int | None) -> None:
        """Marks the checkpoint of the best evaluation, which is kept even when newer ones exist."""
        self._best = step

    def save(self, state: TrainState, progress: Progress) -> Path | None:
        """Starts writing a checkpoint in the background, unless that step is saved already.

        Returns once the training step may reuse the memory of `state`.

        Returns:
            The folder of the checkpoint; None if nothing is being written.
        """
        self._finish()
        step = int(state.step)
        if step in self.steps():
            return None
        self._remove_leftovers()
        saved = ocp.args.Composite(
            state=ocp.args.StandardSave(unpacked(state)._asdict()), progress=ocp.args.JsonSave(progress._asdict())
        )
        self._saving = step
        path = self._folder / str(step)
        try:
            self._checkpointer.save(path, args=saved)
        except Exception as error:  # Orbax and its storage raise errors without a common base class
            self._saving = None
            self._note_failure(step, error)
            return None
        return path

    def wait(self) -> None:
        """Waits until the last checkpoint is written.

        Raises:
            CheckpointError: it could not be written.
        """
        self._finish()
        if self._failure is not None:
            raise CheckpointError(self._failure)

    def restore(self, like: TrainState, sharding: Sharding) -> tuple[TrainState, Progress]:
        """Reads the newest readable checkpoint. Newer ones that cannot be read are reported and moved aside.

        Args:
            like: a state with the names, shapes and types of the saved one.
            sharding: sharding of the restored arrays.

        Returns:
            The state and the progress of the run.

        Raises:
            CheckpointError: no checkpoint can be read, or one contains the state of another network or optimizer.
        """
        unreadable: dict[Path, str] = {}
        for step in reversed(self.steps()):
            path = self._folder / str(step)
            try:
                found = self._read_everywhere(path, like, sharding)
            except CheckpointError:
                raise
            except Exception as error:  # damaged files cause many kinds of errors
                unreadable[path] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                logger.warning("the checkpoint %s cannot be read: %s", path, unreadable[path])
                continue
            # Not before one was read: if no checkpoint can be read, the disk may be unavailable.
            self._move_aside(unreadable)
            return found
        each = "; ".join(f"{path} ({why})" for path, why in unreadable.items())
        raise CheckpointError(
            f"no checkpoint in {self._folder} can be read: {each or 'there is none'}. Nothing was moved: try again if "
            "the disk was unavailable. Otherwise start a new run in another --workdir; pass this run directory as "
            "--model.weights to start it from the weights of the last evaluation"
        )

    def _move_aside(self, paths: Collection[Path]) -> None:
        """Renames unreadable checkpoints once all processes have skipped them, so that the steps can be saved again."""
        _wait_for_the_first_process("a checkpoint is read")
        if jax.process_index() == 0:
            for path in paths:
                aside = path.rename(unused(path.with_name(f"{path.name}.unreadable")))
                logger.warning("moved %s aside, to %s", path, aside.name)
                sizes_of(path).unlink(missing_ok=True)
        _wait_for_the_first_process("others are moved aside")

    def _read_everywhere(self, path: Path, like: TrainState, sharding: Sharding) -> tuple[TrainState, Progress]:
        """Reads a checkpoint on all processes or on none, because they must resume from the same one."""
        # Checked beforehand, because reading waits for the other processes.
        on_every_process(lambda: check_sizes(path))
        return on_every_process(lambda: self._read(path, like, sharding))

    def _read(self, path: Path, like: TrainState, sharding: Sharding) -> tuple[TrainState, Progress]:
        saved = ocp.StandardCheckpointHandler().metadata(path / "state").tree
        expected = unpacked(like)
        different = state_differences(saved, expected._asdict())
        if different:
            raise CheckpointError(
                f"the checkpoint {path} belongs to another network, optimizer or version of yolox_jax. "
                f"{shortened(different, 4)}. Resume with the settings it was written with, or start a new run"
            )
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(expected._asdict()), progress=ocp.args.JsonRestore()
        )
        read = self._checkpointer.restore(path, args=arguments)
        progress = read["progress"]
        if "best_ap" in progress:  # of a version that knew no other figure
            progress["best_value"] = progress["best_ap"]
        known = {name: value for name, value in progress.items() if name in Progress._fields}
        return jax.device_put(repacked(TrainState(**read["state"]), like), sharding), Progress(**known)

    def _remove_leftovers(self) -> None:
        """Removes incomplete checkpoints, and trials. Must not be called while one is being written."""
        if jax.process_index() == 0:
            for leftover in (*self._folder.glob("*.orbax-checkpoint-tmp*"), *self._folder.glob(f"{TRIAL}-*")):
                shutil.rmtree(leftover, ignore_errors=True)

    def _finish(self) -> None:
        """Waits for the checkpoint being written, then removes the older ones that it replaces."""
        if self._saving is None:
            return
        try:
            self._checkpointer.wait_until_finished()
        except Exception as error:
            self._note_failure(self._saving, error)
            return
        finally:
            self._saving = None
        self._failure = None
        self._remove_leftovers()  # again: a failed save may have kept writing for a moment
        if jax.process_index() == 0:
            for old in self.steps()[: -self._keep]:
                if old != self._best:
                    shutil.rmtree(self._folder / str(old), ignore_errors=True)
                    sizes_of(self._folder / str(old)).unlink(missing_ok=True)

    def _note_sizes(self) -> None:
        """Called by Orbax in the background on process 0, just before it renames the complete folder."""
        sizes_file = sizes_of(self._folder / str(self._saving))
        with contextlib.suppress(OSError):  # on a full disk; the checkpoint itself is complete
            for path in self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*"):
                # Only files inside the folders of the items: those next to the folders may still change.
                files = (file for file in path.glob("*/**/*") if file.is_file())
                sizes = {str(file.relative_to(path)): file.stat().st_size for file in files}
                with atomic_write(sizes_file) as temporary:
                    write_json(temporary, sizes, indent=2)

    def _note_failure(self, step: int, error: Exception) -> None:
        path = self._folder / str(step)
        self._failure = f"the checkpoint {path} could not be written: {str(error)[:500]}"
        self._remove_leftovers()  # the incomplete checkpoint may be what fills the disk
        logger.error(
            "%s. Training continues; the newest complete checkpoint is that of step %s",
            self._failure,
            self.latest_step(),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._finish()
        self._checkpointer.close()
        self._opened.close()


def _wait_for_the_first_process(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
