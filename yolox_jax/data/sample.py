"""One training sample: which images go into it, every random change, and the boxes that are trained on (SPEC A3)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8

from yolox_jax.config import DataConfig
from yolox_jax.data.augment.affine import affine, draw_affine
from yolox_jax.data.augment.colour import draw_shifts, shift_hsv
from yolox_jax.data.augment.mixup import mirror, mixup
from yolox_jax.data.augment.mosaic import build_mosaic, draw_centre
from yolox_jax.data.image import BrokenImage, LabelledImage, load_image
from yolox_jax.data.letterbox import letterbox, resize_to_fit
from yolox_jax.data.sources.dataset import DataError, Record


class Sample(NamedTuple):
    """An augmented image of the input size; G object slots, of which the first are filled."""

    image: UInt8[np.ndarray, "H W 3"]
    boxes: Float32[np.ndarray, "G 4"]
    """Centre x, centre y, width, height in px; zeros where not valid."""
    classes: Int32[np.ndarray, " G"]
    valid: Bool[np.ndarray, " G"]


class ImageLoader:
    """Loads records, puts the next readable image in the place of a broken one, and remembers what it met."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.broken: list[tuple[str, str]] = []
        """Path and fault of each broken image met."""
        self.loaded: list[str] = []
        """Path of each image loaded."""

    def load(self, index: int) -> LabelledImage:
        """The image at `index`, or the nearest readable one after it.

        Raises:
            DataError: no image at all can be read.
        """
        for step in range(len(self.records)):
            record = self.records[(index + step) % len(self.records)]
            try:
                image = load_image(record)
            except BrokenImage as error:
                self.broken.append((str(error.path), error.why))
                continue
            self.loaded.append(str(record.path))
            return LabelledImage(image, record.boxes, record.classes)
        raise DataError(f"none of the {len(self.records)} training images can be read; the last: {self.broken[-1]}")


def make_sample(
    index: int,
    loader: ImageLoader,
    with_objects: Int[np.ndarray, " M"],
    *,
    mosaic: bool,
    config: DataConfig,
    rng: np.random.Generator,
) -> Sample:
    """Build the training sample around one image.

    Args:
        index: the image.
        loader: reads the image and its partners, which are drawn from all that it has.
        with_objects: indices of the images that have objects, to draw the partner of MixUp from.
        mosaic: False in the last epochs: no mosaic, and so no MixUp.
        config: sizes and augmentation.
        rng: every random choice is drawn from it.
    """
    augment, size = config.augment, config.input_size
    labelled = loader.load(index)
    if mosaic and rng.random() < augment.mosaic_probability:
        centre = draw_centre(rng, size)
        partners = [loader.load(int(tile)) for tile in rng.integers(len(loader.records), size=3)]
        labelled = affine(build_mosaic([labelled, *partners], centre, size), draw_affine(rng, augment), size, augment)
        if len(labelled.boxes) and len(with_objects) and rng.random() < augment.mixup_probability:
            partner = loader.load(int(rng.choice(with_objects)))
            labelled = mixup(labelled, partner, augment.mixup_scale, rng)
    else:
        image, ratio = resize_to_fit(labelled.image, size)
        labelled = LabelledImage(image, labelled.boxes * np.float32(ratio), labelled.classes)
    return _finish(labelled, config, rng)


def _finish(labelled: LabelledImage, config: DataConfig, rng: np.random.Generator) -> Sample:
    """Colour, mirror, letterbox, and the objects in their slots (SPEC A3.4)."""
    image, boxes, classes = labelled
    augment = config.augment
    if len(boxes):  # the original leaves images without objects as they are
        if rng.random() < augment.hsv_probability:
            image = shift_hsv(image, draw_shifts(rng, augment.hsv_gains))
        if rng.random() < augment.flip_probability:
            image, boxes = mirror(image, boxes)
    image, ratio = letterbox(image, config.input_size)
    sides = (boxes[:, 2:] - boxes[:, :2]) * np.float32(ratio)
    centres = (boxes[:, 2:] + boxes[:, :2]) * np.float32(ratio / 2)
    kept = np.flatnonzero(sides.min(axis=1, initial=np.inf) > augment.min_final_side_px)[: config.max_boxes]
    slot_boxes, slot_classes = np.zeros((config.max_boxes, 4), np.float32), np.zeros(config.max_boxes, np.int32)
    slot_boxes[: len(kept)] = np.concatenate([centres, sides], axis=1)[kept]
    slot_classes[: len(kept)] = classes[kept]
    return Sample(image, slot_boxes, slot_classes, np.arange(config.max_boxes) < len(kept))
