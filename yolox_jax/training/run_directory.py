"""The run directory: its files, and checks that a run can start or resume in it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.files import RUN_SETTINGS, config_of_run, run_settings
from yolox_jax.config.serialization import config_to_dict, flag, flatten, primary_name
from yolox_jax.data.class_weights import class_weights
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.hooks import NO_HOOKS, Hooks
from yolox_jax.data.image_order import ImageOrder
from yolox_jax.files import atomic_write, ensure_writable_folder, write_json
from yolox_jax.text import counted, shortened

LOCAL_SETTINGS = (
    "data.train.images",
    "data.train.annotations",
    "data.val.images",
    "data.val.annotations",
    "data.cache_dir",
    "data.num_workers",
    "data.num_threads",
)
"""Settings that may differ between the processes of a run, as may the same fields of `data.more_train` and
`data.more_val`."""

# A resumed run may change these: paths of the data, and settings that change neither the weights nor the metrics of
# the run so far.
FREE_SETTINGS = (
    *LOCAL_SETTINGS,
    "data.broken_images",
    "train.log_interval",
    "train.keep_checkpoints",
    "train.checkpoint_steps",
    "train.checkpoint_minutes",
    "train.non_finite",
    "train.loggers",
    "evaluation.batch_size",
    "evaluation.losses",
    "evaluation.num_pictures",
    "evaluation.patience",
)


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The files and folders of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The config of the run, as JSON."""
        return self.root / RUN_SETTINGS

    @property
    def data(self) -> Path:
        """Number of training images, and the names of the classes and of the user's own augmentation, as JSON."""
        return self.root / "data.json"

    @property
    def duration(self) -> Path:
        """Hours that the run was started for, and the schedule that fits into them, as JSON."""
        return self.root / "duration.json"

    @property
    def lock(self) -> Path:
        """Lock file, held by the process that trains here."""
        return self.root / "lock"

    @property
    def metrics(self) -> Path:
        """One JSON object per line: a logged step or an evaluation."""
        return self.root / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """Everything logged, with timestamps."""
        return self.root / "log.txt"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def mlflow(self) -> Path:
        """Folder of MLflow's database and images, unless MLFLOW_TRACKING_URI is set."""
        return self.root / "mlflow"

    @property
    def logger_ids(self) -> Path:
        """Ids of this run in Weights & Biases and MLflow, as JSON, with which a resumed run continues them."""
        return self.root / "logger_ids.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints that `--resume` reads."""
        return self.root / "checkpoints"

    @property
    def non_finite(self) -> Path:
        """Folder of batches whose loss or gradient was not finite."""
        return self.root / "non_finite"

    @property
    def best_weights(self) -> Path:
        """Averaged weights with the highest AP, or value of `evaluation.best_by`."""
        return self.root / "best" / "weights.safetensors"

    @property
    def best_metrics(self) -> Path:
        """Metrics and analysis of the best weights, for `yolox-jax report`."""
        return self.root / "best" / "metrics.json"

    @property
    def last_weights(self) -> Path:
        """Averaged weights of the last evaluation."""
        return self.root / "last" / "weights.safetensors"

    @property
    def curves(self) -> Path:
        """Plot of losses, learning rate and AP."""
        return self.root / "curves.png"

    def predictions(self, epoch: int) -> Path:
        """Validation images with predictions after `epoch`, counted from 1."""
        return self.root / "predictions" / f"epoch_{epoch:04d}.jpg"


def saved_steps(checkpoints: Path) -> list[int]:
    """Steps of the complete checkpoints in a folder, in ascending order."""
    return sorted(int(path.name) for path in checkpoints.glob("[0-9]*") if path.name.isdigit())


def open_run_directory(root: Path, config: Config, *, resume: bool, extend: bool = False) -> RunDirectory:
    """Creates the run directory, or checks that the run in it can be resumed with this config.

    A run that is extended may have other settings, which `plan_extension` checks.

    Raises:
        ConfigError: the folder cannot be written, contains another run, or contains a run with other settings.
    """
    run = RunDirectory(root)
    ensure_writable_folder(root, "--workdir")
    if run.config.exists():
        saved = bool(saved_steps(run.checkpoints))
        if not resume:
            purpose = "continue it" if saved else "restart it, as it has saved nothing yet"
            raise ConfigError(
                f"--workdir {root} already contains a run. Add --resume to {purpose}, or choose another folder"
            )
        if saved:  # a run without a checkpoint starts over, with any settings
            if not extend:
                _check_same_settings(run, config)
        elif run.best_weights.exists() or run.last_weights.exists():  # its checkpoints were removed
            raise ConfigError(
                f"--resume: the run in {root} has weights but no checkpoints to resume from, and starting over would "
                f"replace the weights. Choose another --workdir; --model.weights {root} starts from the weights"
            )
    return run


def record_settings(
    run: RunDirectory,
    config: Config,
    train_set: Dataset,
    hooks: Hooks = NO_HOOKS,
    extensions: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the config and the data properties that a resumed run must match. The directory then contains a run."""
    settings = run_settings(config, extensions)
    for path, content in ((run.data, describe_data(config, train_set, hooks)), (run.config, settings)):
        with atomic_write(path) as temporary:
            write_json(temporary, content, indent=2)


def check_same_data(run: RunDirectory, config: Config, train_set: Dataset, hooks: Hooks = NO_HOOKS) -> None:
    """Checks that a resumed run trains on the data it was started with, wherever the files are now.

    Raises:
        ConfigError: the classes, the number of training images or the names of hooks differ.
    """
    if not (run.data.exists() and saved_steps(run.checkpoints)):
        return
    before, now = json.loads(run.data.read_text()), describe_data(config, train_set, hooks)
    hooks_before, hooks_now = before.pop("augment", {}), now.pop("augment", {})
    if before != now:

        def described(data: dict) -> str:
            images, names = counted(data["num_images"], "training image"), data["class_names"]
            repeated = f" ({data['images_per_epoch']} an epoch)" if "images_per_epoch" in data else ""
            weighted = [f" (weight {weight:.4g})" for weight in data.get("class_weights", ())] or [""] * len(names)
            classes = shortened([name + weight for name, weight in zip(names, weighted, strict=True)], 8)
            return f"{images}{repeated} with the {'class' if len(names) == 1 else 'classes'} {classes}"

        raise ConfigError(
            f"--resume: the training data cannot change on resume: the run in {run.root} was started with "
            f"{described(before)}; --data.train now gives {described(now)}. Restore the data, or start a new run in "
            f"another --workdir; --model.weights {run.root} starts it from the trained weights. --extend continues "
            "with other images of the same classes"
        )
    if hooks_before != hooks_now:
        raise ConfigError(
            f"--resume: the augmentation cannot change on resume: the run in {run.root} was started with the hooks "
            f"{hooks_before or 'none'}, and is resumed with {hooks_now or 'none'}. Resume it from Python, as "
            "yolox_jax.train(..., resume=True, augment=...) with the functions that it was started with"
        )


def describe_data(config: Config, train_set: Dataset, hooks: Hooks) -> dict[str, Any]:
    """The properties of the training data that a resumed run must match, as `data.json` records them."""
    description: dict[str, Any] = {
        "num_images": len(train_set.records),
        "class_names": list(train_set.class_names),
    }
    if config.data.repeat_threshold:  # then the number of steps depends on the annotations
        description["images_per_epoch"] = ImageOrder(train_set.records, config.data.repeat_threshold).length
    weights = class_weights(config.loss, train_set, config.data.repeat_threshold)
    if weights is not None:  # then the loss depends on the annotations
        description["class_weights"] = list(weights)
    if hooks.names:
        description["augment"] = hooks.names
    return description


def recorded_config(run: RunDirectory) -> Config:
    """The config of the run. Settings that an older version did not have get their defaults."""
    return config_of_run(json.loads(run.config.read_text()))


def changed_settings(before: Config, now: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that differ and that a resumed run may not change, by dotted name: each before and now."""
    old, new = flatten(config_to_dict(before)), flatten(config_to_dict(now))
    return {
        name: (old.get(name), new.get(name))
        for name in old | new
        if primary_name(name) not in FREE_SETTINGS and _effect(name, old.get(name)) != _effect(name, new.get(name))
    }


def _check_same_settings(run: RunDirectory, config: Config) -> None:
    changed = [
        f"  {flag(name)} was {before!r}, is {now!r}"
        for name, (before, now) in changed_settings(recorded_config(run), config).items()
    ]
    if changed:
        raise ConfigError(
            f"--resume: these settings of the run in {run.root} cannot change on resume:\n"
            + "\n".join(changed)
            + "\nRestore them, or start a new run in another --workdir. "
            f"--config {run.root} --resume takes all settings from the run; --resume --extend continues with other ones"
        )


def _effect(name: str, value: object) -> object:
    """Maps values of a setting that produce the same run to a single value."""
    # A cache in memory and a cache on disk return the same pixels; without a cache they differ slightly.
    return "disk" if name == "data.cache" and value == "ram" else value


def shared_settings(config: Config) -> dict[str, object]:
    """The settings that all processes of a run must share, by dotted name."""
    settings = flatten(config_to_dict(config))
    return {name: value for name, value in settings.items() if primary_name(name) not in LOCAL_SETTINGS}
