"""Finds the data of a run from another folder than the one it was started in."""

import dataclasses
import json
import logging
from pathlib import Path

from yolox_jax.config.settings import Config, DatasetConfig

ORIGIN = "origin.json"
"""File in a run directory that holds the working directory of the run, which its relative paths start from."""

logger = logging.getLogger("yolox_jax")


def find_data_of_run(config: Config, run: Path) -> Config:
    """Completes the relative paths of a run's datasets that exist only in the working directory of the run.

    Logs a warning that names them. Paths that exist here are kept, with a warning if they lead to other files there.

    Args:
        config: The config of the run.
        run: The run directory.
    """
    origin, data = _working_directory(run), config.data
    if origin is None or origin == Path.cwd():
        return config
    moved: list[str] = []
    ambiguous: list[str] = []

    def found(text: str) -> str:
        here, there = Path(text).expanduser(), origin / Path(text).expanduser()
        if not text or here.is_absolute() or not there.exists():
            return text
        if not here.exists():
            moved.append(text)
            return str(there)
        if not here.samefile(there):
            ambiguous.append(text)
        return text

    def found_dataset(one: DatasetConfig) -> DatasetConfig:
        return dataclasses.replace(one, images=found(one.images), annotations=found(one.annotations))

    data = dataclasses.replace(
        data,
        train=found_dataset(data.train),
        val=found_dataset(data.val),
        more_train=tuple(map(found_dataset, data.more_train)),
        more_val=tuple(map(found_dataset, data.more_val)),
    )
    if moved:
        paths = ", ".join(dict.fromkeys(moved))
        logger.warning("data of %s: %s not found here, taken from %s, where the run was started", run, paths, origin)
    if ambiguous:
        paths = ", ".join(dict.fromkeys(ambiguous))
        logger.warning("data of %s: %s taken from here; the run was started in %s with other files", run, paths, origin)
    return dataclasses.replace(config, data=data)


def _working_directory(run: Path) -> Path | None:
    """The folder that a run was started in, if it is recorded."""
    try:
        return Path(json.loads((run / ORIGIN).read_text())["working_directory"])
    except (OSError, ValueError, KeyError, TypeError):  # a run of an earlier version, or not a run of this program
        return None


def describe_origin() -> dict[str, str]:
    """The content of `ORIGIN` for a run that starts now."""
    return {"working_directory": str(Path.cwd())}
