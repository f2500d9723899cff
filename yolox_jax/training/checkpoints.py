"""Saving and restoring a run. The only file that knows Orbax."""

from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from yolox_jax.training.state import TrainState


class Progress(NamedTuple):
    """What a run remembers beside its arrays. The data stream needs nothing: it follows from the seed and the step."""

    best_ap: float | None = None
    """Highest AP so far; None before the first evaluation."""
    best_epoch: int | None = None
    """Epoch of that evaluation, counted from 1."""


class Checkpoints:
    """The newest checkpoints of a run, written in the background; close it so that the last one is whole."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        )

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, None without one."""
        return self._manager.latest_step()

    def save(self, state: TrainState, progress: Progress) -> None:
        """Starts writing; returns once the arrays are copied, so that the step may reuse their memory."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state._asdict()), progress=ocp.args.JsonSave(progress._asdict())
            ),
        )

    def restore(self, like: TrainState, sharding: Sharding) -> tuple[TrainState, Progress]:
        """Reads the newest checkpoint.

        Args:
            like: a state of the same run, for names, shapes and types.
            sharding: how the arrays are to lie on the devices.

        Returns:
            The state and what goes with it.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), like._asdict())
        step = self._manager.latest_step()
        read = self._manager.restore(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()),
        )
        return TrainState(**read["state"]), Progress(**read["progress"])

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._manager.wait_until_finished()
        self._manager.close()
