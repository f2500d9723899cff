"""The folder of a run: what lies where, and whether a run may start or go on in it."""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.files import RUN_SETTINGS
from yolox_jax.config.serialization import config_from_dict, config_to_dict, flag, primary_name
from yolox_jax.data.dataset import Dataset
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import shortened

LOCAL_SETTINGS = (
    "data.train.images",
    "data.train.annotations",
    "data.val.images",
    "data.val.annotations",
    "data.cache_dir",
    "data.num_workers",
    "data.num_threads",
)
"""May differ between the processes of a run; of `data.more_train` and `data.more_val`, what may of the first ones."""

# A resumed run may change these: where the data lies, and what alters neither weights nor figures of a run that came
# this far.
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
    """Paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """Every setting, as JSON."""
        return self.root / RUN_SETTINGS

    @property
    def data(self) -> Path:
        """Number of training images and the names of the classes, as JSON."""
        return self.root / "data.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.root / "lock"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: a logged step or an evaluation."""
        return self.root / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """What was printed, with times."""
        return self.root / "log.txt"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def mlflow(self) -> Path:
        """Folder of MLflow's database and pictures, unless MLFLOW_TRACKING_URI names another place."""
        return self.root / "mlflow"

    @property
    def logger_ids(self) -> Path:
        """Names of this run at Weights & Biases and MLflow, as JSON, to go on with them after a resume."""
        return self.root / "logger_ids.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints that `--resume` reads."""
        return self.root / "checkpoints"

    @property
    def non_finite(self) -> Path:
        """Folder of the batches whose loss or gradient was not finite."""
        return self.root / "non_finite"

    @property
    def best_weights(self) -> Path:
        """Averaged weights of the evaluation with the highest AP."""
        return self.root / "best" / "weights.safetensors"

    @property
    def best_metrics(self) -> Path:
        """All that the evaluation of the best weights told, which `yolox-jax report` shows."""
        return self.root / "best" / "metrics.json"

    @property
    def last_weights(self) -> Path:
        """Averaged weights of the newest evaluation."""
        return self.root / "last" / "weights.safetensors"

    @property
    def curves(self) -> Path:
        """Losses, learning rate and AP over the run."""
        return self.root / "curves.png"

    def predictions(self, epoch: int) -> Path:
        """Validation images with predictions after `epoch`, counted from 1."""
        return self.root / "predictions" / f"epoch_{epoch:04d}.jpg"


def saved_steps(checkpoints: Path) -> list[int]:
    """Steps of the whole checkpoints in a folder, in order."""
    return sorted(int(path.name) for path in checkpoints.glob("[0-9]*") if path.name.isdigit())


def open_run_directory(root: Path, config: Config, *, resume: bool) -> RunDirectory:
    """Makes the folder, or checks that the run in it is the one to go on with.

    Raises:
        ConfigError: the folder cannot be written, holds another run, or holds a run with other settings.
    """
    run = RunDirectory(root)
    ensure_writable_folder(root, "--workdir")
    if run.config.exists():
        saved = bool(saved_steps(run.checkpoints))
        if not resume:
            way_out = "go on with it" if saved else "start it over, as it has saved nothing yet"
            raise ConfigError(
                f"--workdir {root} already holds a run; add --resume to {way_out}, or choose another folder"
            )
        if saved:  # before the first checkpoint there is nothing to agree with
            _check_same_settings(run, config)
        elif run.best_weights.exists() or run.last_weights.exists():  # which follow a checkpoint: they were removed
            raise ConfigError(
                f"--resume: the run in {root} has weights but no checkpoints, which it would need to go on: starting "
                f"over would replace them. Choose another --workdir; --model.weights {root} starts from what was learnt"
            )
    ensure_writable_folder(run.checkpoints, "--workdir: the folder of checkpoints")
    return run


def lock_run_directory(run: RunDirectory) -> IO[str]:
    """Keeps other processes from training in the folder until the file that this returns is closed.

    Raises:
        ConfigError: another process trains there.
    """
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(run.lock.open("a+"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"--workdir {run.root}: another process is training there ({file.read().strip()}). Wait for its end, "
                "or choose another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        else:
            file.truncate(0)
            print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
        opened.pop_all()
    return file


def record_settings(run: RunDirectory, config: Config, train_set: Dataset) -> None:
    """Writes the settings, and what a resumed run has to find again; from here on the folder holds a run."""
    _write_json(run.data, _describe(train_set))
    _write_json(run.config, config_to_dict(config))


def check_same_data(run: RunDirectory, train_set: Dataset) -> None:
    """Checks that a run that is to go on trains on what it was started with, wherever that lies now.

    Raises:
        ConfigError: the classes or the number of training images are others.
    """
    if not (run.data.exists() and saved_steps(run.checkpoints)):
        return
    before, now = json.loads(run.data.read_text()), _describe(train_set)
    if before != now:

        def told(data: dict) -> str:
            return f"{data['num_images']} training images of {shortened(data['class_names'], 8)}"

        raise ConfigError(
            f"--resume: the run in {run.root} was started with {told(before)}; --data.train now gives {told(now)}. "
            "Give it the same data, or start a new run with another --workdir; --model.weights with this folder "
            "starts it from what was learnt"
        )


def _describe(train_set: Dataset) -> dict[str, object]:
    return {"num_images": len(train_set.records), "class_names": list(train_set.class_names)}


def _write_json(path: Path, content: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def _check_same_settings(run: RunDirectory, config: Config) -> None:
    # By way of Config, so that a run of an older version has the defaults of settings that are new.
    before = flatten(config_to_dict(config_from_dict(json.loads(run.config.read_text()))))
    now = flatten(config_to_dict(config))
    changed = [
        f"  {flag(name)} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in before | now
        if primary_name(name) not in FREE_SETTINGS and _effect(name, before.get(name)) != _effect(name, now.get(name))
    ]
    if changed:
        raise ConfigError(
            f"--resume: the run in {run.root} was started with other settings:\n"
            + "\n".join(changed)
            + "\nset them back to go on, or start a new run with another --workdir"
        )


def _effect(name: str, value: object) -> object:
    """What stands for all values of a setting that make the same run."""
    # Images come out of a cache in memory and out of one on disk alike, but not as out of none.
    return "disk" if name == "data.cache" and value == "ram" else value


def settings_of_the_run(config: Config) -> dict[str, object]:
    """The settings that all its processes share, by their dotted names."""
    settings = flatten(config_to_dict(config))
    return {name: value for name, value in settings.items() if primary_name(name) not in LOCAL_SETTINGS}


def flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    """Nested settings by their dotted names: `data.input_size`, `data.more_train[0].images`."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for place, item in enumerate(value):
                flat |= flatten(item, f"{prefix}{key}[{place}].")
        else:
            flat[prefix + key] = value
    return flat
