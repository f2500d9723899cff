"""The images from which the ranges of activations are measured, letterboxed as for inference."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt

from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image import BrokenImage, load_image, read_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.export.quantization import FEW_IMAGES, Quantization
from yolox_jax.inference.input.given_images import find_images
from yolox_jax.text import counted, shortened

logger = logging.getLogger(__name__)


class CalibrationImages:
    """Images of the training split of a dataset, or image files, spread evenly if there are more than asked for."""

    def __init__(self, quantization: Quantization):
        """Find them. A warning says if they are few, or show no object of some classes.

        Raises:
            ConfigError: there are none at the path.
        """
        path = Path(quantization.calibrate)
        self._dataset, paths = find_images(path, flag="--calibrate", limit=quantization.num_images, split="train")
        self._items = paths if self._dataset is None else self._dataset.records
        used = counted(len(self._items), "image")
        if len(self._items) < FEW_IMAGES:
            logger.warning(
                "--calibrate %s: %s may be too few for ranges that hold for others. Use %d or more",
                path,
                used,
                FEW_IMAGES,
            )
        if self._dataset is not None and (missing := _classes_without_objects(self._dataset)):
            logger.warning(
                "--calibrate %s: the %s used show no object of %s. If the network is less accurate on them than in "
                "float, use more images with --calibration-images, or others",
                path,
                used,
                shortened(missing, 5),
            )

    def reader(
        self, format: PixelFormat, size: tuple[int, int], on_progress: Callable[[int, int], None] | None = None
    ) -> Callable[[], Iterator[UInt[np.ndarray, "H W C"]]]:
        """Return a function that reads the images from the first on, letterboxed to `size` (height, width).

        A warning names those that are broken.

        Args:
            format: that of the network.
            size: input size of the network in px.
            on_progress: called with the number of images read, and of those to read, if all are read twice.
        """
        done = 0

        def read() -> Iterator[UInt[np.ndarray, "H W C"]]:
            nonlocal done
            for item in self._items:
                done += 1
                if on_progress is not None:
                    on_progress(done, 2 * len(self._items))
                try:
                    if isinstance(item, Path):
                        image = read_image(item, format)
                    else:
                        image = load_image(dataclasses.replace(item, pixels=format))
                except BrokenImage as error:
                    if done <= len(self._items):  # once
                        logger.warning("left out: %s", error)
                else:
                    yield letterbox(image, size)[0]

        return read


def _classes_without_objects(dataset: Dataset) -> list[str]:
    shown = {int(index) for record in dataset.records for index in record.classes}
    return [name for index, name in enumerate(dataset.class_names) if index not in shown]
