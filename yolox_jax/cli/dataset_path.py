"""Datasets that are named by one path, as `--data` or as an argument of a command."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yolox_jax.cli.terminal import say
from yolox_jax.config import Config, ConfigError, DatasetConfig

FORMAT_NAMES = {
    "coco": "COCO",
    "voc": "Pascal VOC",
    "yolo": "YOLO",
    "tfds": "TensorFlow Datasets",
    "shapes": "generated shapes",
}
"""What formats are called in sentences."""

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
            only = config.data.train
            could_be_val = splits == ("val",) and only.format == "coco" and bool(only.annotations)
            raise ConfigError(
                f"--data {path} has no validation split. Pass "
                + (f"--data {only.annotations} to use these images for it, or a split" if could_be_val else "one")
                + " with --data.val.format, --data.val.images, --data.val.annotations and --data.val.split"
            )
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, val=config.data.train))
    announce_datasets(path, config, splits)
    return config


def announce_datasets(path: Path, config: Config, splits: Sequence[Literal["train", "val"]] = ("train", "val")) -> None:
    """Prints which datasets were found at a path."""
    for split in splits:
        dataset = config.data.train if split == "train" else config.data.val
        if dataset == DatasetConfig():
            say(f"{split}: no such split found at {path}; only the training images are used")
        else:
            parts = [dataset.annotations, dataset.images and f"images in {dataset.images}"]
            parts.append(dataset.split and f"split {dataset.split}")
            say(f"{split}: {FORMAT_NAMES[dataset.format]}, {', '.join(filter(None, parts))}")
