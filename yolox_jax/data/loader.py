"""Loads the images of records, and replaces a broken image by the next readable one."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt

from yolox_jax.data.augment.paint import Placement
from yolox_jax.data.cache.pixel_cache import PixelCache
from yolox_jax.data.dataset import DataError, Record
from yolox_jax.data.image import BrokenImage, Pixels, load_image, load_reduced
from yolox_jax.data.letterbox import fitted_size, resize_to_fit
from yolox_jax.data.partners import SharedImages

MAX_BROKEN = 100
"""Number of broken images in one sample that stops loading. So many suggest a faulty disk or a wrong folder."""


class ImageLoader:
    """Loads the images of one sample from their files or from a cache, and records which were loaded or broken.

    Every sample has its own loader, so that it does not depend on the broken images of other samples.
    """

    def __init__(self, records: Sequence[Record], cache: PixelCache | SharedImages | None = None) -> None:
        self.records = records
        self.broken: dict[tuple[Path, int], BrokenImage] = {}
        """Broken images so far, by their keys: all tiles of a broken image are."""
        self.loaded: list[str] = []
        """Paths of the loaded images."""
        self._cache = cache

    def find(self, index: int) -> tuple[int, Record]:
        """Return the first index from `index` on whose image is not known to be broken, and its record.

        Raises:
            DataError: all images are broken, or `MAX_BROKEN` of them.
        """
        if len(self.broken) < MAX_BROKEN:
            for place in itertools.chain(range(index, len(self.records)), range(index)):
                if self.records[place].image_key not in self.broken:
                    return place, self.records[place]
        last = next(reversed(self.broken.values()))
        raise DataError(
            f"{len(self.broken)} of {len(self.records)} training images were tried, and none can be read. The last "
            f"one: {last.path}: {last.why}. Check that the folder still exists."
        )

    def pixels(self, placement: Placement, size: tuple[int, int]) -> Pixels:
        """Load an image, possibly at a reduced scale that is sufficient for its placement.

        An image smaller than `size` (height, width) is resized to fit it: if the warp enlarged it, its outermost pixels
        would fade into the background.

        Raises:
            BrokenImage: the image cannot be used; from now on `find` skips it.
        """
        record = self.records[placement.record_index]
        if self._cache is None and fitted_size((record.height, record.width), size)[1] <= 1:
            with self._recorded(placement.record_index):
                return load_reduced(record, placement.matrix.zoom)
        image = self.fitted(placement.record_index, size)
        return Pixels(image, (image.shape[1] / record.width, image.shape[0] / record.height))

    def fitted(self, index: int, size: tuple[int, int]) -> UInt[np.ndarray, "h w C"]:
        """Load an image, resized to fit `size` (height, width). Do not write to it.

        Raises:
            BrokenImage: the image cannot be used; from now on `find` skips it.
        """
        with self._recorded(index):
            if self._cache is not None:
                return self._cache[index]
            return resize_to_fit(load_image(self.records[index]), size)[0]

    def whole(self, index: int) -> UInt[np.ndarray, "h w C"]:
        """Load an image at its full size, or as the cache has it. Do not write to it.

        Raises:
            BrokenImage: the image cannot be used; from now on `find` skips it.
        """
        with self._recorded(index):
            return load_image(self.records[index]) if self._cache is None else self._cache[index]

    @contextlib.contextmanager
    def _recorded(self, index: int) -> Iterator[None]:
        """Record whether the image at `index` was loaded or is broken."""
        try:
            yield
        except BrokenImage as error:
            self.broken[self.records[index].image_key] = error
            raise
        self.loaded.append(str(self.records[index].path))
