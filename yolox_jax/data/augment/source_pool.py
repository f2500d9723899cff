"""Images in a batch that several samples are drawn from: those of a group of `data.augment.partners batch`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.augment import MOSAIC_TILES
from yolox_jax.data.partners import rows_of_group


class SourcePool:
    """The images of a group, each written once, at its first use: there is one place for each sample of the group."""

    def __init__(self, places: UInt8[np.ndarray, "G H W C"]) -> None:
        """Write into `places`, which are zeros."""
        self._places = places
        self._of_record: dict[int, int] = {}

    def place_of(self, record_index: int, load: Callable[[int], UInt8[np.ndarray, "h w C"]]) -> int:
        """Return the place of an image, which is loaded if it has none yet."""
        if record_index not in self._of_record:
            image, place = load(record_index), len(self._of_record)
            self._places[place, : image.shape[0], : image.shape[1]] = image
            self._of_record[record_index] = place
        return self._of_record[record_index]


def check_rows(config: Config, rows: range) -> None:
    """Check that rows of a batch are whole groups, where those share their images.

    Raises:
        ValueError: they have a part of a group.
    """
    if not _are_whole_groups(config, rows):
        raise ValueError(
            f"rows {rows.start} to {rows.stop - 1} of a batch of {config.train.batch_size} divide a group of rows that "
            "share their images (--data.augment.on device with --data.augment.partners batch). Load whole groups, as "
            "yolox_jax.data.partners.rows_of_group returns them"
        )


def check_whole_groups(config: Config, num_devices: int) -> None:
    """Check that no group of a batch is split over devices, each of which draws from the images that it has.

    Raises:
        ConfigError: one is.
    """
    batch_size, group = config.train.batch_size, config.data.augment.partner_group
    share = batch_size // num_devices
    if all(_are_whole_groups(config, range(row, row + share)) for row in range(0, batch_size, share)):
        return
    fewest = MOSAIC_TILES * num_devices
    way_out = f"--data.augment.partner-group {share} or a number that divides it"
    raise ConfigError(
        "--data.augment.on device draws each group of --data.augment.partners batch on one device, but groups of "
        f"--data.augment.partner-group {group} are split: each of {num_devices} devices has {share} rows of a batch. "
        f"Pass {way_out if batch_size >= fewest else f'--train.batch-size {fewest} or more'}, or "
        "--data.augment.partners dataset"
    )


def _are_whole_groups(config: Config, rows: range) -> bool:
    augment = config.data.augment
    if augment.on == "host" or augment.partners == "dataset":
        return True
    first, last = (
        rows_of_group(row, config.train.batch_size, augment.partner_group) for row in (rows.start, rows.stop - 1)
    )
    return (first.start, last.stop) == (rows.start, rows.stop)
