"""The images that a user gives by one path: a dataset, a folder, a pattern or a file."""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

from yolox_jax.config import Config, ConfigError
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.at_path import datasets_at
from yolox_jax.data.sources.joined import take_share
from yolox_jax.inference.input.image_files import list_files


class GivenImages(NamedTuple):
    """The images of a dataset, or image files."""

    dataset: Dataset | None
    paths: tuple[Path, ...] = ()


def find_images(path: Path, *, flag: str, limit: int, split: Literal["train", "val"]) -> GivenImages:
    """Find the images at a path.

    Args:
        path: a dataset or images.
        flag: where the path was given.
        limit: maximum number of images, spread evenly; 0 for all.
        split: of a dataset; the training split if there is no other.

    Raises:
        ConfigError: there is neither a dataset nor an image.
    """
    try:
        train, val = datasets_at(path)
    except ConfigError as error:
        paths = list_files(path).images
        if not paths:
            why = (
                error
                if path.is_file()
                else ("Pass images, a data.yaml, a COCO JSON file, or the folder of one dataset or of images.")
            )
            raise ConfigError(f"{flag} {path}: there are neither images nor a dataset. {why}") from error
        kept = min(limit or len(paths), len(paths))
        return GivenImages(None, tuple(paths[place * len(paths) // kept] for place in range(kept)))
    chosen = train if split == "train" or val is None else val
    dataset = open_datasets(dataclasses.replace(Config().data, val=chosen), "val")
    return GivenImages(take_share(dataset, min(1.0, limit / len(dataset.records)) if limit else 1.0))
