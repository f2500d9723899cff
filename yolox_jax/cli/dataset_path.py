"""The flag `--data`, which names the datasets of a command by one path."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yolox_jax.cli.settings import announce_datasets
from yolox_jax.config import Config, ConfigError, DatasetConfig

DataPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


def with_announced_data(config: Config, path: Path | None, *splits: Literal["train", "val"]) -> Config:
    """Prints which datasets were found at `--data`, if it is given.

    Args:
        config: The config with the datasets at the path.
        path: The value of `--data`.
        splits: Those that the command uses. If this is `val` alone, and the path is a COCO file that is not part of a
            pair, the file is used as `val`.

    Raises:
        ConfigError: The command uses `val`, and there is none at the path.
    """
    if path is None:
        return config
    if "val" in splits and config.data.val == DatasetConfig():
        if splits != ("val",) or path.suffix.lower() != ".json":
            raise ConfigError(
                f"--data {path} has no validation split. Pass one with --data.val.format, --data.val.images, "
                "--data.val.annotations and --data.val.split"
            )
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, val=config.data.train))
    announce_datasets(path, config, splits)
    return config
