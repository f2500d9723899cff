"""Plans a training sample: every random choice, the placement of each image, and the boxes (docs/yolox.md, 7).

Planning reads no pixels, so images that end up outside the view are never loaded.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32

from yolox_jax.config import DataConfig
from yolox_jax.data.augment.affine import apply_affine, draw_affine
from yolox_jax.data.augment.colour import draw_shifts
from yolox_jax.data.augment.matrix import from_pixel_centres
from yolox_jax.data.augment.mixup import Partner, draw_partner
from yolox_jax.data.augment.mosaic import draw_centre, place_tiles
from yolox_jax.data.augment.objects import Objects
from yolox_jax.data.augment.paint import Placement
from yolox_jax.data.dataset import Record
from yolox_jax.data.letterbox import fitted_size
from yolox_jax.data.partners import Partners


class SampleTargets(NamedTuple):
    """The objects of a sample, padded to G slots; the first slots are filled."""

    boxes: Float32[np.ndarray, "G 4"]
    """Centre x, centre y, width, height in px; zeros in empty slots."""
    classes: Int32[np.ndarray, " G"]
    valid: Bool[np.ndarray, " G"]
    num_dropped: int
    """Objects that did not fit into the slots."""


class SamplePlan(NamedTuple):
    """How to draw a sample."""

    record_index: int
    """Index of the image that the sample is built around."""
    tiles: tuple[Placement, ...]
    """The images of a mosaic, in drawing order; empty for a sample of one letterboxed image."""
    partner: Partner | None
    """The image that MixUp blends in, if any."""
    shifts: Int16[np.ndarray, "3"] | None
    """Shifts of hue, saturation and value; None does not change the colours."""
    mirrored: bool
    """Whether the sample is mirrored left to right; `tiles` and `partner` already include it."""
    objects: Objects
    """The objects of the sample, those included that are too small to train on."""


def plan_sample(
    index: int,
    find: Callable[[int], tuple[int, Record]],
    shown: Partners,
    *,
    mosaic: bool,
    config: DataConfig,
    rng: np.random.Generator,
) -> SamplePlan:
    """Plan the training sample around one image.

    Args:
        index: of the image.
        find: returns the index and record of an image, or of the replacement if the image is broken.
        shown: the images to draw the partners of mosaics and MixUp from.
        mosaic: False in the last epochs: no mosaic, and therefore no MixUp.
        config: sizes and augmentation.
        rng: the source of every random choice.
    """
    augment, size = config.augment, config.input_size
    partner = None
    if mosaic and rng.random() < augment.mosaic_probability:
        tiles, objects = _plan_mosaic(index, find, shown, config, rng)
        if len(objects.boxes) and len(shown.with_objects) and rng.random() < augment.mixup_probability:
            drawn = shown.draw_mixup(rng, [tile.record_index for tile in tiles])
            partner_index, partner_record = find(drawn)
            partner, others = draw_partner(partner_index, partner_record, size, augment.mixup_scale, rng)
            objects = objects.joined(others)
        shifts, mirrored = _draw_finish(objects, config, rng)
        if mirrored:
            objects = objects.mirrored(size[1])
            tiles = [tile.mirrored(size[1]) for tile in tiles]
            partner = partner and partner.mirrored(size[1])
        return SamplePlan(tiles[0].record_index, tuple(tiles), partner, shifts, mirrored, objects)

    index, record = find(index)
    fitted, ratio = fitted_size((record.height, record.width), size)
    objects = Objects(record.boxes * np.float32(ratio), record.classes)
    shifts, mirrored = _draw_finish(objects, config, rng)
    if mirrored:
        objects = objects.mirrored(fitted[1])
    # If truncation made the image one pixel too small, letterboxing resizes it again.
    objects = objects._replace(boxes=objects.boxes * np.float32(fitted_size(fitted, size)[1]))
    return SamplePlan(index, (), None, shifts, mirrored, objects)


def _plan_mosaic(
    index: int,
    find: Callable[[int], tuple[int, Record]],
    shown: Partners,
    config: DataConfig,
    rng: np.random.Generator,
) -> tuple[list[Placement], Objects]:
    """Place four images on a canvas, and transform the canvas by a random affine map."""
    centre = draw_centre(rng, config.input_size)
    indices, records = zip(*(find(tile) for tile in (index, *shown.draw_tiles(rng))), strict=True)
    tiles, objects = place_tiles(indices, records, centre, config.input_size)
    matrix, objects = apply_affine(objects, draw_affine(rng, config.augment), config.input_size, config.augment)
    # The original transforms boxes and pixels by the same matrix, although the coordinates of boxes count from the
    # corner of an image, and OpenCV's from the centre of its first pixel.
    to_output = from_pixel_centres(matrix.tolist())
    return [tile._replace(matrix=to_output.after(tile.matrix)) for tile in tiles], objects


def _draw_finish(
    objects: Objects, config: DataConfig, rng: np.random.Generator
) -> tuple[Int16[np.ndarray, "3"] | None, bool]:
    """Draw the colour shifts and whether to mirror. Like the original, images without objects are not changed."""
    if not len(objects.boxes):
        return None, False
    augment = config.augment
    # Drawn for any number of channels, so that the boxes do not depend on it.
    shifts = draw_shifts(rng, augment.hsv_gains) if rng.random() < augment.hsv_probability else None
    return shifts if config.channels == 3 else None, bool(rng.random() < augment.flip_probability)


def large_enough(objects: Objects, config: DataConfig) -> Bool[np.ndarray, " N"]:
    """Return which objects are large enough to train on."""
    return (objects.boxes[:, 2:] - objects.boxes[:, :2] > config.augment.min_final_side_px).all(axis=1)


def to_targets(objects: Objects, config: DataConfig) -> SampleTargets:
    """Put the objects that are large enough into slots; if there are too many, the largest (docs/yolox.md, 7.5)."""
    boxes, classes = objects
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = np.flatnonzero(large_enough(objects, config))
    num_dropped = max(len(kept) - config.max_boxes, 0)
    if num_dropped:
        by_size = np.argsort(-sides[kept].prod(axis=1), kind="stable")
        kept = np.sort(kept[by_size[: config.max_boxes]])
    slot_boxes, slot_classes = np.zeros((config.max_boxes, 4), np.float32), np.zeros(config.max_boxes, np.int32)
    slot_boxes[: len(kept), :2] = (boxes[kept, :2] + boxes[kept, 2:]) * np.float32(0.5)
    slot_boxes[: len(kept), 2:] = sides[kept]
    slot_classes[: len(kept)] = classes[kept]
    return SampleTargets(slot_boxes, slot_classes, np.arange(config.max_boxes) < len(kept), num_dropped)
