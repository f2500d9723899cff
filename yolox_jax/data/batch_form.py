"""The arrays of a training batch: what the host sends to the devices."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from yolox_jax.config import AugmentConfig, DataConfig
from yolox_jax.config.augment import MOSAIC_TILES
from yolox_jax.data.pixel_format import pixel_format


class ArrayForm(NamedTuple):
    """One array of a batch."""

    shape: tuple[int, ...]
    """Of one image; the array has one more axis in front."""
    dtype: DTypeLike


def batch_form(config: DataConfig) -> dict[str, ArrayForm]:
    """Return the arrays of a training batch.

    With `data.augment.on host`, `images` holds the finished samples. With `device`, the fields of `SampleSources` are
    in its place.
    """
    slots, pixels = config.max_boxes, pixel_format(config)
    image = (*config.input_size, pixels.channels)
    if config.augment.on == "host":
        drawing = {"images": ArrayForm(image, pixels.dtype)}
    else:
        sources = num_sources(config.augment)
        drawing = {
            # With partners from the batch, samples share the images of each other.
            "sources": ArrayForm((1 if config.augment.partners == "batch" else sources, *image), pixels.dtype),
            "members": ArrayForm((sources,), np.int32),
            "windows": ArrayForm((sources, 4), np.int32),
            "matrices": ArrayForm((2, 2, 3), np.float32),
            "partner_padding": ArrayForm((4,), np.int32),
            "shifts": ArrayForm((3,), np.int32),
            "shifted_size": ArrayForm((2,), np.int32),
        }
    return drawing | {
        "boxes": ArrayForm((slots, 4), np.float32),
        "classes": ArrayForm((slots,), np.int32),
        "valid": ArrayForm((slots,), bool),
    }


def empty_batch(config: DataConfig, images: int) -> dict[str, np.ndarray]:
    """Allocate the arrays of a batch. All are to be written to, save for parts of the sources, which are zeros."""
    return {
        name: (np.zeros if name == "sources" else np.empty)((images, *form.shape), form.dtype)
        for name, form in batch_form(config).items()
    }


def num_sources(config: AugmentConfig) -> int:
    """Return the largest number of images that a sample can be drawn from."""
    if not config.mosaic_probability:
        return 1
    return MOSAIC_TILES + (config.mixup_probability > 0)
