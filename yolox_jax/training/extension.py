"""Continues a run with other settings, such as more epochs or another batch size (docs/training.md)."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from typing import Any

import jax

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.files import EXTENSIONS
from yolox_jax.config.serialization import flag, typed
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.hooks import Hooks
from yolox_jax.data.image_order import steps_per_epoch
from yolox_jax.text import shortened
from yolox_jax.training.checkpoints import CheckpointError, Progress
from yolox_jax.training.run_directory import (
    RunDirectory,
    changed_settings,
    describe_data,
    recorded_config,
    saved_steps,
)
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.loss_scale import initial_loss_scale
from yolox_jax.training.step.state import TrainState

logger = logging.getLogger("yolox_jax.training")

FIXED = ("model.", "data.channels", "optimizer.name")
"""Settings, or beginnings of their names, that the saved state depends on."""

OF_BEST = ("data.val", "data.more_val", "data.input_size", "data.bits", "evaluation.")
"""Beginnings of the names of settings after whose change the best value so far can no longer be compared."""

CLASS_WEIGHTS = "class weights"
"""Name of a change of these weights, which depend on the training data."""


@dataclasses.dataclass(frozen=True)
class Extension:
    """A point of a run from which it has other settings, as `config.json` records it."""

    step: int
    """Steps done by then."""
    epoch: float
    """Epochs done by then."""
    step_offset: int
    """Steps done by then, less those that as many epochs have with the new settings."""
    evaluated: bool
    """Whether the run evaluated there with its earlier settings. The evaluation follows the checkpoint, so that it has
    to be repeated, or else its figures would not be known."""
    changes: dict[str, list[Any]]
    """What changed, by the name of the setting: the values before and after. `images` is the number an epoch."""


def read_extensions(run: RunDirectory) -> tuple[Extension, ...]:
    """The extensions of a run so far."""
    recorded = json.loads(run.config.read_text()) if run.config.exists() else {}
    return tuple(Extension(**one) for one in recorded.get(EXTENSIONS, ()))


def plan_extension(run: RunDirectory, config: Config, train_set: Dataset, hooks: Hooks) -> Extension | None:
    """Plans to continue a run from its newest checkpoint with other settings or data.

    Returns:
        The extension; None if nothing has changed, as when an extended run is resumed with the same command.

    Raises:
        ConfigError: there is no checkpoint, the saved state does not suit the settings, or the run has already done
            as many epochs.
    """
    steps = saved_steps(run.checkpoints)
    if not steps or not run.config.exists():
        raise ConfigError(
            f"--extend: there is no checkpoint in {run.root} to continue from. Pass the --workdir of the run"
        )
    before = recorded_config(run)
    changes = {name: [old, new] for name, (old, new) in changed_settings(before, config).items()}
    _check_same_network(run, changes)
    data_now = describe_data(config, train_set, hooks)
    data = json.loads(run.data.read_text()) if run.data.exists() else data_now
    if data["class_names"] != data_now["class_names"]:
        raise ConfigError(
            f"--extend: the run in {run.root} has the classes {shortened(data['class_names'], 8)}, --data.train now "
            f"gives {shortened(data_now['class_names'], 8)}. Start a new run with --model.weights {run.root}"
        )
    images = data.get("images_per_epoch", data["num_images"])
    for name, old, new in (
        ("images", images, data_now.get("images_per_epoch", data_now["num_images"])),
        (CLASS_WEIGHTS, data.get("class_weights"), data_now.get("class_weights")),
        ("augment", data.get("augment", {}), hooks.names),
    ):
        if old != new:
            changes[name] = [old, new]
    if not changes:
        return None
    step = steps[-1]
    schedule = extended(RunSchedule(before, -(-images // before.train.batch_size)), read_extensions(run))
    epoch = schedule.epochs_after(step)
    if config.schedule.epochs <= epoch:
        raise ConfigError(
            f"--extend: the run in {run.root} has done {epoch:g} epochs: --schedule.epochs {config.schedule.epochs} "
            "leaves nothing to train. Pass a larger number"
        )
    steps_now = round(epoch * steps_per_epoch(train_set.records, config))
    return Extension(step, epoch, step - steps_now, schedule.evaluates_after(step - 1), changes)


def _check_same_network(run: RunDirectory, changes: dict[str, list[Any]]) -> None:
    fixed = [name for name in changes if name.startswith(FIXED)]
    if fixed:
        listed = ", ".join(f"{flag(name)} was {changes[name][0]!r}, is {changes[name][1]!r}" for name in fixed)
        raise ConfigError(
            f"--extend cannot change the network or the optimizer, whose state continues: {listed}. Restore them, or "
            f"start a new run in another --workdir with --model.weights {run.root}"
        )


def extended(schedule: RunSchedule, extensions: Sequence[Extension]) -> RunSchedule:
    """The schedule of a run that has gone on with other settings, which it has had since the newest extension."""
    if not extensions:
        return schedule
    newest = extensions[-1]
    evaluated_at = newest.step if newest.evaluated else None
    return dataclasses.replace(schedule, step_offset=newest.step_offset, also_evaluates_after=evaluated_at)


def announce_extension(extension: Extension, schedule: RunSchedule) -> None:
    """Logs what changes, before the run goes on."""
    changes = ", ".join(
        # The weights of many classes would fill the screen; the start of each run logs them.
        name if name == CLASS_WEIGHTS else f"{flag(name) if '.' in name else name} {typed(old)} -> {typed(new)}"
        for name, (old, new) in extension.changes.items()
    )
    logger.info(
        "extending the run after %g epochs, to %d: %s", extension.epoch, schedule.config.schedule.epochs, changes
    )
    logger.info(
        "the schedule bends here, to a learning rate of %.3g: the results will not be bit-for-bit those of a run with "
        "these settings from the start",
        schedule.learning_rate_at(extension.step),
    )


def begin_extension(
    extensions: Sequence[Extension], config: Config, state: TrainState, progress: Progress
) -> tuple[TrainState, Progress]:
    """Adapts a restored run to its newest extension, if it has just reached it.

    The result depends on the checkpoint and the recorded extensions alone, so that a run that is killed before its next
    checkpoint starts from the same state again, also if it is extended once more there.

    Raises:
        CheckpointError: the checkpoint is older than the extension, whose own cannot be read.
    """
    step, newest = int(state.step), extensions[-1].step if extensions else -1
    if step > newest:
        return state, progress
    if step < newest:
        raise CheckpointError(
            f"the run was extended after step {newest}, whose checkpoint cannot be read; the newest one that "
            f"can is of step {step}. Start a new run in another --workdir, with the run directory as --model.weights"
        )
    changes = {name for extension in extensions if extension.step == step for name in extension.changes}
    progress = progress._replace(evaluations_since_best=0)
    if any(name.startswith(OF_BEST) for name in changes):
        progress = progress._replace(best_value=None, best_epoch=None, best_step=None)
    if "train.precision" in changes:
        loss_scale = jax.device_get(initial_loss_scale(config.train))
        state = state._replace(loss_scale=jax.device_put(loss_scale, state.step.sharding))
    return state, progress
