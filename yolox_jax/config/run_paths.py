"""Finds the data of a run from another folder than the one it was started in."""

import dataclasses
import logging
import os
from pathlib import Path

from yolox_jax.config.data import DatasetConfig
from yolox_jax.config.settings import Config

logger = logging.getLogger("yolox_jax")


def find_data_of_run(config: Config, run: Path, *, origin: str | None) -> Config:
    """Completes the relative paths of a run's datasets that exist only in the working directory of the run.

    Logs a warning that names them. Paths that exist here are kept, with a warning if they lead to other files there.

    Args:
        config: The config of the run.
        run: The run directory.
        origin: The working directory of the run; None if it is not recorded.
    """
    if origin is None or origin == str(Path.cwd()):
        return config
    moved: list[str] = []
    ambiguous: list[str] = []

    def found(text: str) -> str:
        there = os.path.join(origin, text)  # noqa: PTH118
        # Unlike `Path.exists`, this is False for a folder of another user that cannot be looked into.
        if not text or text.startswith("~") or os.path.isabs(text) or not os.path.exists(there):  # noqa: PTH110, PTH117
            return text
        if not os.path.exists(text):  # noqa: PTH110
            moved.append(text)
            return there
        if not os.path.samefile(text, there):  # noqa: PTH121
            ambiguous.append(text)
        return text

    def found_dataset(one: DatasetConfig) -> DatasetConfig:
        return dataclasses.replace(one, images=found(one.images), annotations=found(one.annotations))

    data = config.data
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
