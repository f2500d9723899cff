"""Opens one data set, as tests of a format want it."""

from typing import Literal

from yolox_jax.config import DataConfig, DatasetConfig
from yolox_jax.data.dataset import STOP_AT_FIRST, Dataset, Faults
from yolox_jax.data.sources import open_datasets


def open_dataset(config: DatasetConfig, which: Literal["train", "val"], *, faults: Faults = STOP_AT_FIRST) -> Dataset:
    """The data set that a config has for training or validation."""
    return open_datasets(DataConfig(train=config, val=config), which, faults=faults)
