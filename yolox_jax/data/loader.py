"""Loads the images of records, and puts the next readable one in the place of a broken one."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from yolox_jax.data.augment.paint import Placement
from yolox_jax.data.cache.pixel_cache import PixelCache
from yolox_jax.data.dataset import DataError, Record
from yolox_jax.data.image import BrokenImage, Pixels, load_image, load_reduced
from yolox_jax.data.letterbox import fitted_size, resize_to_fit

MOST_BROKEN = 100
"""Broken images met for one sample at which a run gives up: then it is not the images, but what they lie on."""


class ImageLoader:
    """Loads the images of one sample from their files, or from a cache, and remembers what it met.

    Of one sample alone, so that what it is does not depend on the broken images of others.
    """

    def __init__(self, records: Sequence[Record], cache: PixelCache | None = None) -> None:
        self.records = records
        self.broken: dict[int, BrokenImage] = {}
        """Broken images met, by their index."""
        self.loaded: list[str] = []
        """Path of each image loaded."""
        self._cache = cache

    def find(self, index: int) -> tuple[int, Record]:
        """The record at `index`, or the nearest after it that is not known to be broken; and its index.

        Raises:
            DataError: all are, or too many of them.
        """
        if len(self.broken) >= min(len(self.records), MOST_BROKEN):
            last = next(reversed(self.broken.values()))
            raise DataError(
                f"{len(self.broken)} of {len(self.records)} training images were tried, and none can be read; "
                f"{last.path}: {last.why}. Is the folder still there?"
            )
        while index in self.broken:
            index = (index + 1) % len(self.records)
        return index, self.records[index]

    def pixels(self, placement: Placement, size: tuple[int, int]) -> Pixels:
        """An image, perhaps at a reduced scale that is still enough for where it goes.

        One that is smaller than `size` (height, width) is resized to fit into it: stretched later, its outermost px
        would fade into what lies behind.

        Raises:
            BrokenImage: it cannot be used; from now on `find` passes over it.
        """
        record = self.records[placement.record_index]
        if self._cache is None and fitted_size((record.height, record.width), size)[1] <= 1:
            with self._noted(placement.record_index):
                return load_reduced(record, placement.matrix.zoom)
        image = self.fitted(placement.record_index, size)
        return Pixels(image, (image.shape[1] / record.width, image.shape[0] / record.height))

    def fitted(self, index: int, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """An image, resized to fit into `size` (height, width); not to be written to.

        Raises:
            BrokenImage: as `pixels`.
        """
        with self._noted(index):
            if self._cache is not None:
                return self._cache[index]
            return resize_to_fit(load_image(self.records[index]), size)[0]

    @contextlib.contextmanager
    def _noted(self, index: int) -> Iterator[None]:
        """Around the loading of an image."""
        try:
            yield
        except BrokenImage as error:
            self.broken[index] = error
            raise
        self.loaded.append(str(self.records[index].path))
