"""A sheet of training images with their boxes, as `yolox-jax data preview` draws it."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import Config
from yolox_jax.data.training_images import TrainingImage
from yolox_jax.inference.draw import FONT, draw_detections
from yolox_jax.inference.picture_files import write_picture

SHEET_WIDTH_PX = 1600
TILE_SIDES_PX = (160, 640)
"""Smallest and largest longer side of an image on the sheet."""
CAPTION_HEIGHT_PX = 36
CAPTION_SCALE = 0.6
GAP_PX = 4
WHITE = (255, 255, 255)


def write_training_sheet(
    path: Path, images_of_epoch: dict[int, list[TrainingImage]], config: Config, class_names: Sequence[str]
) -> None:
    """Draws images of one or more epochs, one section per epoch, and writes them as one picture.

    Args:
        path: A .png or .jpg file.
        images_of_epoch: Images by epoch, counted from 1; the same number for each epoch.
        config: The config of the run, for the captions.
        class_names: Names of all classes.
    """
    sections = [
        draw_section(epoch_caption(config, epoch), images, class_names) for epoch, images in images_of_epoch.items()
    ]
    write_picture(path, np.concatenate(sections))


def epoch_caption(config: Config, epoch: int) -> str:
    """The epoch, counted from 1, and how its images are augmented."""
    schedule, augment = config.schedule, config.data.augment
    start = f"epoch {epoch} of {schedule.epochs}: "
    if epoch > schedule.epochs - schedule.no_aug_epochs:
        return start + f"no mosaic and no MixUp in the last {schedule.no_aug_epochs}"
    return start + f"{augment.mosaic_probability:.0%} mosaics, {augment.mixup_probability:.0%} of them with MixUp"


def draw_section(
    caption: str, images: Sequence[TrainingImage], class_names: Sequence[str]
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws images in a grid below a caption, with their boxes and class names.

    Large images are scaled down to fit, small ones up by an integer factor. The width depends only on the number of
    images and their size, so that sections can be stacked.
    """
    columns = min(len(images), math.ceil(math.sqrt(2 * len(images))))
    side = min(max(SHEET_WIDTH_PX // columns, TILE_SIDES_PX[0]), TILE_SIDES_PX[1])
    tiles = [_draw_tile(one, side, class_names) for one in images]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[first : first + columns], axis=1) for first in range(0, len(tiles), columns)]
    return np.concatenate([_draw_caption(caption, rows[0].shape[1]), *rows])


def _draw_caption(caption: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    strip = np.full((CAPTION_HEIGHT_PX, width, 3), 255, np.uint8)
    (full_width, _), _ = cv2.getTextSize(caption, FONT, 1.0, 1)
    scale = min(CAPTION_SCALE, (width - 2 * GAP_PX) / full_width)
    cv2.putText(strip, caption, (GAP_PX, CAPTION_HEIGHT_PX - 12), FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def _draw_tile(one: TrainingImage, side: int, class_names: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Scales an image until its longer side is about `side`, then draws the boxes, so that labels are legible."""
    height, width = one.image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        scale = math.floor(scale)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    image = cv2.resize(one.picture, size, interpolation=cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA)
    drawn = draw_detections(image, one.boxes * np.float32(scale), None, one.classes, all_class_names=class_names)
    gap = GAP_PX // 2
    return cv2.copyMakeBorder(drawn, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=WHITE)
