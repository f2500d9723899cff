"""Which image each place of an epoch shows: all in random order, those with rare classes more than once.

Repeat factor sampling (LVIS, https://arxiv.org/abs/1908.03195, version 2, appendix B.2) shows an image r(i) times in a
pass over the dataset:

    r(c) = max(1, sqrt(t / f(c)))        f(c): fraction of the images that have class c; t: `data.repeat_threshold`
    r(i) = max of r(c) over the classes of the image, and 1 without objects

Factors have fractions, numbers of images do not. Every pass shows an image floor(r(i)) times, and draws which images it
shows once more. LVIS draws each on its own, so that its epochs differ in length. Here a pass draws a fixed number of
images, the sum of the fractions rounded, by systematic sampling: all epochs of a run have the same number of steps, on
which the schedule depends.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from yolox_jax.config import Config
from yolox_jax.data.dataset import Record


class Pass(NamedTuple):
    """One pass over the dataset; images are indices of records."""

    order: Int64[np.ndarray, " M"]
    """The image that each place shows."""
    images: Int64[np.ndarray, " M"]
    """The same images in ascending order, as often as the pass shows them: partners of mosaics are drawn from them."""
    with_objects: Int64[np.ndarray, " K"]
    """Those of them that have objects: partners of MixUp are drawn from them."""

    def draw_tiles(self, rng: np.random.Generator) -> list[int]:
        """Draw the second to fourth image of a mosaic, with replacement as in the original."""
        return [int(image) for image in self.images[rng.integers(len(self.images), size=3)]]

    def draw_mixup(self, rng: np.random.Generator, mosaic: Sequence[int]) -> int:
        """Draw an image to blend into a mosaic, whatever that shows."""
        return int(rng.choice(self.with_objects))


class ImageOrder:
    """The order of the images in each pass of a run, as a function of the seed and the number of the pass."""

    def __init__(self, records: Sequence[Record], repeat_threshold: float, seed: int = 0) -> None:
        """Take the images and settings of the run."""
        self._seed = seed
        self._has_objects = np.array([len(record.boxes) > 0 for record in records], bool)
        self.factors = _repeat_factors(records, repeat_threshold)
        """How often a pass shows each image on average."""
        self._always = np.floor(self.factors).astype(np.int64)
        self._fractions = self.factors - self._always
        # fsum rounds once, so that all machines agree.
        self._num_drawn = round(math.fsum(self._fractions))
        self.length = int(self._always.sum()) + self._num_drawn
        """Images that a pass shows; the number of records unless images are repeated."""

    def pass_at(self, number: int) -> Pass:
        """Return pass `number`, counted from 0."""
        return _recent_pass(self, number)

    def draw(self, number: int) -> Pass:
        """Compute a pass, which `pass_at` does once for all images of it."""
        rng = np.random.default_rng((self._seed, number))
        # Drawn first, so that the order does not change where no image is repeated.
        places = rng.permutation(self.length)
        images = np.repeat(np.arange(len(self._always)), self._always + self._draw_extra(rng))
        return Pass(images[places], images, images[self._has_objects[images]])

    def _draw_extra(self, rng: np.random.Generator) -> Int64[np.ndarray, " N"]:
        """Draw which images to show once more: a fixed number, each about as often as its fraction says.

        Systematic sampling: the fractions are laid end to end in random order, and equally spaced marks pick images.
        """
        extra = np.zeros(len(self._fractions), np.int64)
        if self._num_drawn:
            images = rng.permutation(np.flatnonzero(self._fractions))
            ends = np.cumsum(self._fractions[images])
            # At least 1, which no fraction reaches, so that no image is picked twice where their sum was rounded up.
            spacing = max(ends[-1] / self._num_drawn, 1.0)
            first = rng.random() * (ends[-1] - (self._num_drawn - 1) * spacing)
            marks = first + np.arange(self._num_drawn) * spacing
            picked = np.minimum(np.searchsorted(ends, marks, side="right"), len(images) - 1)
            np.add.at(extra, images[picked], 1)
        return extra


@functools.lru_cache(maxsize=4)
def _recent_pass(order: ImageOrder, number: int) -> Pass:
    return order.draw(number)


def _repeat_factors(records: Sequence[Record], threshold: float) -> Float64[np.ndarray, " N"]:
    factors = np.ones(len(records))
    if threshold > 0:
        owners, classes = image_class_pairs(records)
        of_class = np.sqrt(threshold * len(records) / np.maximum(np.bincount(classes), 1))
        np.maximum.at(factors, owners, of_class[classes])
    return factors


def image_class_pairs(records: Sequence[Record]) -> tuple[Int64[np.ndarray, " P"], Int64[np.ndarray, " P"]]:
    """Return each pair of an image and a class that it has, once: the indices of images, and those of classes."""
    owners = np.repeat(np.arange(len(records)), [len(record.classes) for record in records])
    classes = np.concatenate([np.zeros(0, np.int64), *(record.classes for record in records)])
    count = int(classes.max(initial=0)) + 1
    return np.divmod(np.unique(owners * count + classes), count)


def steps_per_epoch(records: Sequence[Record], config: Config) -> int:
    """Return the number of steps in an epoch, which show at least as many images as one pass over the dataset."""
    return -(-ImageOrder(records, config.data.repeat_threshold).length // config.train.batch_size)
