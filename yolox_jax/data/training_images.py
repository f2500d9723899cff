"""Single training images: augmented, as training sees them, or unaugmented, from across the dataset."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt, UInt8

from yolox_jax.config import Config, ConfigError
from yolox_jax.data.channels import to_picture
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.image_order import steps_per_epoch
from yolox_jax.data.letterbox import fitted_size, letterbox
from yolox_jax.data.pipeline import HostBatch, load_training_batch

logger = logging.getLogger("yolox_jax.data")


class TrainingImage(NamedTuple):
    """An image as the network receives it."""

    name: str
    image: UInt[np.ndarray, "H W C"]
    """BGR, or in the format of its dataset."""
    boxes: Float32[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px."""
    classes: Int32[np.ndarray, " N"]
    content_size: tuple[int, int]
    """Height and width in px without padding."""

    @property
    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """The image as 8-bit BGR to look at."""
        return to_picture(self.image)


def augmented_images(
    dataset: Dataset,
    config: Config,
    epoch: int,
    count: int,
    images_of: Callable[[HostBatch], UInt[np.ndarray, "B H W C"]],
) -> list[TrainingImage]:
    """The first images of an epoch, exactly as training reads them, with mosaic and all other augmentation.

    Args:
        dataset: The training set.
        config: The config of the run.
        epoch: Counted from 1.
        count: The number of images.
        images_of: Returns the images of a batch, such as `training.step.drawing.images_of`.

    Raises:
        ConfigError: The epoch has fewer images.
        DataError: No image can be read.
    """
    batch_size = config.train.batch_size
    steps = steps_per_epoch(dataset.records, config)
    if count > steps * batch_size:
        raise ConfigError(f"--count must be at most {steps * batch_size}, the number of images per epoch; got {count}")
    images: list[TrainingImage] = []
    for first in range(0, count, batch_size):
        step, rows = (epoch - 1) * steps + first // batch_size, range(min(batch_size, count - first))
        if config.data.augment.on == "device" and config.data.augment.partners == "batch":
            rows = range(batch_size)  # samples are drawn from images of each other
        batch, _ = load_training_batch(dataset, config, step, rows)
        pixels = images_of(batch)
        for row, valid in enumerate(batch["valid"]):
            centres, sides = np.split(batch["boxes"][row, valid], 2, axis=1)
            corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
            name = f"training_{len(images):03d}"
            size = config.data.input_size
            images.append(TrainingImage(name, pixels[row], corners, batch["classes"][row, valid], size))
    return images[:count]


def letterboxed_images(dataset: Dataset, input_size: tuple[int, int], count: int) -> list[TrainingImage]:
    """Up to `count` images with objects, spread evenly over a dataset, without augmentation.

    Images that cannot be read are logged and omitted.

    Args:
        dataset: The training set.
        input_size: Height and width in px to letterbox the images to.
        count: The number of images.

    Raises:
        ConfigError: No image has objects, or none of those chosen can be read.
    """
    records = [record for record in dataset.records if len(record.boxes)]
    if not records:
        raise ConfigError(f"the training set {dataset.name} has no objects")
    chosen = np.unique(np.linspace(0, len(records) - 1, count).round().astype(int)).tolist()
    images: list[TrainingImage] = []
    for record in (records[index] for index in chosen):
        try:
            image, ratio = letterbox(load_image(record), input_size)
        except BrokenImage as error:
            logger.warning("skipping %s: %s", error.path, error.why)
            continue
        size, _ = fitted_size((record.height, record.width), input_size)
        name = f"{len(images):03d}_{record.path.stem}"
        images.append(TrainingImage(name, image, record.boxes * ratio, record.classes, size))
    if not images:
        raise ConfigError(f"none of the {len(chosen)} chosen images of the training set {dataset.name} can be read")
    return images
