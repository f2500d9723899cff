"""Images in a batch that several samples are drawn from: those of a group of `data.augment.partners batch`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import Config, ConfigError
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


def check_whole_groups(config: Config, num_devices: int) -> None:
    """Check that no group of a batch is split over devices, each of which draws from the images that it has.

    Raises:
        ConfigError: one is.
    """
    augment, batch_size = config.data.augment, config.train.batch_size
    if augment.on == "host" or augment.partners == "dataset":
        return
    share = batch_size // num_devices
    if any(rows_of_group(row, batch_size, augment.partner_group).start != row for row in range(0, batch_size, share)):
        raise ConfigError(
            "--data.augment.on device draws each group of --data.augment.partners batch on one device, but groups of "
            f"--data.augment.partner-group {augment.partner_group} are split: each of {num_devices} devices has "
            f"{share} rows of a batch. Pass --data.augment.partner-group {share} or a number that divides it, or "
            "--data.augment.partners dataset"
        )
