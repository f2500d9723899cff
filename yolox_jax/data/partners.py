"""Partners from the batch: the images that a sample shows besides its own are those of its neighbours in the batch.

The rows of a batch are divided into groups (docs/data.md, partners from the batch). Mosaics and MixUp show images of
their group alone, so each image is decoded once for all samples of a group. A group depends on the batch size and the
settings only, so that any division of a batch among hosts gives the same samples: a host decodes those images of a
group that its own rows show.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt

from yolox_jax.data.dataset import Record
from yolox_jax.data.image import BrokenImage, load_reduced
from yolox_jax.data.image_order import Pass
from yolox_jax.data.letterbox import fitted_size, resize_exactly


class GroupPartners(NamedTuple):
    """The other images of a group, from the view of one of its samples. All are equally likely."""

    images: Int64[np.ndarray, " N"]
    """At least three; an image is in it as often as other samples of the group are built around it."""
    with_objects: Int64[np.ndarray, " K"]

    def draw_tiles(self, rng: np.random.Generator) -> list[int]:
        """Draw the second to fourth image of a mosaic, without replacement: in a small group, few would differ."""
        return [int(image) for image in rng.choice(self.images, 3, replace=False)]

    def draw_mixup(self, rng: np.random.Generator, mosaic: Sequence[int]) -> int:
        """Draw an image to blend into a mosaic, if possible one that it does not show yet."""
        others = [image for image in self.with_objects.tolist() if image not in mosaic]
        return int(rng.choice(others or self.with_objects))


Partners = Pass | GroupPartners
"""The images that a sample may show besides its own: those of a pass over the dataset, or of its group."""


class SharedImages:
    """Images that are loaded once, at their first use, and kept as long as this object; used like a `PixelCache`."""

    def __init__(self, records: Sequence[Record], size: tuple[int, int]) -> None:
        """Load images resized to fit `size` (height, width)."""
        self._records, self._size = records, size
        self._loaded: dict[int, UInt[np.ndarray, "h w C"]] = {}
        self._broken: dict[int, tuple[Path | str, str]] = {}

    def __getitem__(self, index: int) -> UInt[np.ndarray, "h w C"]:
        """Return the image of a record, resized to fit the input. Do not write to it.

        Raises:
            BrokenImage: it cannot be used.
        """
        if index in self._broken:
            path, why = self._broken[index]
            raise BrokenImage(path, why)
        if index not in self._loaded:
            try:
                self._loaded[index] = _load_fitted(self._records[index], self._size)
            except BrokenImage as error:
                self._broken[index] = error.path, error.why
                raise
        return self._loaded[index]


def _load_fitted(record: Record, size: tuple[int, int]) -> UInt[np.ndarray, "h w C"]:
    fitted, ratio = fitted_size((record.height, record.width), size)
    # A JPEG of at least twice the size is decoded at a part of it: that is faster, and has less aliasing.
    return resize_exactly(load_reduced(record, ratio).image, fitted)


class Group:
    """Samples of a batch that show each other's images."""

    def __init__(self, rows: range, images: Sequence[int], records: Sequence[Record], size: tuple[int, int]) -> None:
        """Form a group.

        Args:
            rows: of the batch, at least four.
            images: the index of the image that each of them is built around.
            records: of the dataset.
            size: of the network input.
        """
        self.rows = rows
        self.shared = SharedImages(records, size)
        self._images = np.array(images)
        self._has_objects = np.array([len(records[image].boxes) > 0 for image in images])

    def partners_of(self, row: int) -> GroupPartners:
        """Return the images that a row may show besides its own."""
        others = np.arange(len(self.rows)) != row - self.rows.start
        return GroupPartners(self._images[others], self._images[others & self._has_objects])


def rows_of_group(row: int, batch_size: int, group_size: int) -> range:
    """Return the rows of a batch that form a group with a row.

    Groups are consecutive rows, of equal size up to one, and of at least `group_size` rows unless the batch has fewer.

    >>> [rows_of_group(row, 20, 8) for row in (0, 9, 10)]
    [range(0, 10), range(0, 10), range(10, 20)]
    """
    count = max(batch_size // group_size, 1)
    group = ((row + 1) * count - 1) // batch_size
    return range(group * batch_size // count, (group + 1) * batch_size // count)
