"""The folder of a run: what lies where, and whether a run may start or go on in it."""

import dataclasses
import json
from pathlib import Path

from yolox_jax.config import Config, ConfigError
from yolox_jax.config_file import config_to_dict

# A resumed run may change these: they alter neither the weights nor the figures.
FREE_SETTINGS = (
    "data.num_workers",
    "data.num_threads",
    "train.keep_checkpoints",
    "evaluation.batch_size",
    "evaluation.num_pictures",
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
    def checkpoints(self) -> Path:
        """Folder of the checkpoints that `--resume` reads."""
        return self.root / "checkpoints"

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


def open_run_directory(root: Path, config: Config, *, resume: bool) -> RunDirectory:
    """Makes the folder, or checks that the run in it is the one to go on with.

    Raises:
        ConfigError: the folder cannot be written, holds another run, or holds a run with other settings.
    """
    run = RunDirectory(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        (root / ".write_test").touch()
        (root / ".write_test").unlink()
    except OSError as error:
        raise ConfigError(f"--workdir {root} cannot be written ({error}); choose another folder") from error
    if run.config.exists():
        if not resume:
            raise ConfigError(
                f"--workdir {root} already holds a run; add --resume to go on with it, or choose another folder"
            )
        _check_same_settings(json.loads(run.config.read_text()), config_to_dict(config), root)
    return run


def record_settings(run: RunDirectory, config: Config) -> None:
    """Writes the settings; from here on the folder holds a run."""
    run.config.write_text(json.dumps(config_to_dict(config), indent=2) + "\n")


def _check_same_settings(before: dict, now: dict, root: Path) -> None:
    before, now = _flatten(before), _flatten(now)
    changed = [
        f"  --{name.replace('_', '-')} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in FREE_SETTINGS
    ]
    if changed:
        raise ConfigError(
            f"--resume: the run in {root} was started with other settings:\n"
            + "\n".join(changed)
            + "\nset them back to go on, or start a new run with another --workdir"
        )


def _flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
