"""The folder of a run: what lies where, and whether a run may start or go on in it."""

import dataclasses
import json
from pathlib import Path

from yolox_jax.config import Config, ConfigError
from yolox_jax.config_file import config_from_dict, config_to_dict, flag
from yolox_jax.files import ensure_writable_folder

# A resumed run may change these: where the data lies, and what alters neither weights nor figures of a run that came
# this far.
FREE_SETTINGS = (
    "data.train.images",
    "data.train.annotations",
    "data.val.images",
    "data.val.annotations",
    "data.num_workers",
    "data.num_threads",
    "data.broken_images",
    "train.log_interval",
    "train.keep_checkpoints",
    "train.checkpoint_steps",
    "train.checkpoint_minutes",
    "train.non_finite",
    "train.loggers",
    "evaluation.batch_size",
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
        return self.root / "config.json"

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
    ensure_writable_folder(run.checkpoints, "the folder of --workdir for checkpoints,")
    return run


def record_settings(run: RunDirectory, config: Config) -> None:
    """Writes the settings; from here on the folder holds a run."""
    partial = run.config.with_suffix(".partial")
    partial.write_text(json.dumps(config_to_dict(config), indent=2) + "\n")
    partial.replace(run.config)


def _check_same_settings(run: RunDirectory, config: Config) -> None:
    # By way of Config, so that a run of an older version has the defaults of settings that are new.
    before = flatten(config_to_dict(config_from_dict(json.loads(run.config.read_text()))))
    now = flatten(config_to_dict(config))
    changed = [
        f"  {flag(name)} was {before[name]!r}, is {now[name]!r}"
        for name in now
        if before[name] != now[name] and name not in FREE_SETTINGS
    ]
    if changed:
        raise ConfigError(
            f"--resume: the run in {run.root} was started with other settings:\n"
            + "\n".join(changed)
            + "\nset them back to go on, or start a new run with another --workdir"
        )


def flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    """Nested settings by their dotted names: `data.input_size`."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
