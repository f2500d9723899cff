"""Makes a sample in two steps, as the original does: it builds the mosaic, then warps it (docs/yolox.md, 7).

A reference for tests. It loads every image at full size, and shares only the random draws with the package.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from yolox_jax.config import AugmentConfig, DataConfig
from yolox_jax.data.augment.affine import (
    AffineDraw,
    centred_matrix,
    corner_matrix,
    draw_affine,
    transform_boxes,
    visible_boxes,
)
from yolox_jax.data.augment.colour import draw_shifts
from yolox_jax.data.augment.mosaic import draw_centre, place_tile
from yolox_jax.data.dataset import Record
from yolox_jax.data.image import load_image
from yolox_jax.data.letterbox import letterbox, resize_to_fit


class LabelledImage(NamedTuple):
    """An image with its objects."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def two_step_sample(
    index: int, records: Sequence[Record], *, mosaic: bool, config: DataConfig, rng: np.random.Generator
) -> LabelledImage:
    """Image, boxes (centre and sides) and classes of a training sample, without a limit on their number."""
    augment, size = config.augment, config.input_size
    with_objects = np.flatnonzero([len(record.boxes) > 0 for record in records])
    labelled = _load(records[index])
    if mosaic and rng.random() < augment.mosaic_probability:
        centre = draw_centre(rng, size)
        partners = [_load(records[tile]) for tile in rng.integers(len(records), size=3)]
        canvas = build_mosaic([labelled, *partners], centre, size)
        labelled = warp(canvas, draw_affine(rng, augment), size, augment)
        if len(labelled.boxes) and len(with_objects) and rng.random() < augment.mixup_probability:
            labelled = mixup(labelled, _load(records[rng.choice(with_objects)]), augment.mixup_scale, rng)
    else:
        image, ratio = resize_to_fit(labelled.image, size)
        labelled = labelled._replace(image=image, boxes=labelled.boxes * ratio)
    return _finish(labelled, config, rng)


def build_mosaic(tiles: Sequence[LabelledImage], centre: tuple[int, int], size: tuple[int, int]) -> LabelledImage:
    """Four images on a canvas of twice the input size."""
    canvas_size = (2 * size[0], 2 * size[1])
    canvas, all_boxes = np.full((*canvas_size, 3), 114, np.uint8), []
    for quadrant, tile in enumerate(tiles):
        image, ratio = resize_to_fit(tile.image, size)
        (x1, y1, x2, y2), (u1, v1, u2, v2) = place_tile(quadrant, centre, image.shape[:2], canvas_size)
        canvas[y1:y2, x1:x2] = image[v1:v2, u1:u2]
        all_boxes.append(tile.boxes * ratio + [x1 - u1, y1 - v1, x1 - u1, y1 - v1])
    boxes = np.clip(np.concatenate(all_boxes), 0, [canvas_size[1], canvas_size[0]] * 2).astype(np.float32)
    return LabelledImage(canvas, boxes, np.concatenate([tile.classes for tile in tiles]))


def warp(canvas: LabelledImage, draw: AffineDraw, size: tuple[int, int], augment: AugmentConfig) -> LabelledImage:
    """The canvas and its boxes under one affine map."""
    centred = augment.mosaic_geometry == "centred"
    matrix = centred_matrix(draw, canvas.image.shape[:2], size) if centred else corner_matrix(draw, size)
    image = cv2.warpAffine(canvas.image, matrix, size[::-1], borderValue=(114, 114, 114))
    boxes = transform_boxes(canvas.boxes, matrix, size)
    keep = visible_boxes(canvas.boxes, boxes, draw.scale, augment) if centred else np.ones(len(boxes), bool)
    return LabelledImage(image, boxes[keep], canvas.classes[keep])


def mixup(
    base: LabelledImage, partner: LabelledImage, scale_range: tuple[float, float], rng: np.random.Generator
) -> LabelledImage:
    """The mean with a partner, which is zoomed on a canvas of its own."""
    height, width = base.image.shape[:2]
    zoom, mirrored = rng.uniform(*scale_range), rng.uniform() > 0.5
    padded, ratio = letterbox(partner.image, (height, width))
    zoomed = cv2.resize(padded, (max(int(width * zoom), 1), max(int(height * zoom), 1)))
    boxes = np.clip(partner.boxes * np.float32(ratio * zoom), 0, [zoomed.shape[1], zoomed.shape[0]] * 2)
    if mirrored:
        zoomed, boxes = _mirror(zoomed, boxes)
    top = rng.integers(max(zoomed.shape[0] - height, 1))
    left = rng.integers(max(zoomed.shape[1] - width, 1))
    window = zoomed[top : top + height, left : left + width]
    black = np.zeros_like(base.image)
    black[: window.shape[0], : window.shape[1]] = window
    blended = ((base.image.astype(np.uint16) + black) // 2).astype(np.uint8)
    boxes = np.clip(boxes - [left, top, left, top], 0, [width, height] * 2).astype(np.float32)
    return LabelledImage(blended, np.concatenate([base.boxes, boxes]), np.concatenate([base.classes, partner.classes]))


def shift_hsv(image: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Hue modulo 180, saturation and value clipped, in wide integers."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.int32) + shifts
    hsv[..., 0] %= 180
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR)


def _finish(labelled: LabelledImage, config: DataConfig, rng: np.random.Generator) -> LabelledImage:
    image, boxes, classes = labelled
    augment = config.augment
    if len(boxes):
        if rng.random() < augment.hsv_probability:
            image = shift_hsv(image, draw_shifts(rng, augment.hsv_gains))
        if rng.random() < augment.flip_probability:
            image, boxes = _mirror(image, boxes)
    image, ratio = letterbox(image, config.input_size)
    sides, centres = (boxes[:, 2:] - boxes[:, :2]) * ratio, (boxes[:, 2:] + boxes[:, :2]) * ratio / 2
    keep = (sides > augment.min_final_side_px).all(axis=1)
    return LabelledImage(image, np.concatenate([centres, sides], axis=1)[keep], classes[keep])


def _mirror(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mirrored = boxes.copy()
    mirrored[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    return image[:, ::-1], mirrored


def _load(record: Record) -> LabelledImage:
    return LabelledImage(load_image(record), record.boxes, record.classes)
