"""`yolox-jax data preview`: draws training images exactly as the network sees them, with their objects."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError
from yolox_jax.data.dataset import Dataset
from yolox_jax.files import ensure_writable_folder
from yolox_jax.inference.draw import FONT, draw_detections

SHEET_WIDTH_PX = 1600
TILE_SIDES_PX = (160, 640)
"""Smallest and largest longer side of an image on the sheet."""
CAPTION_HEIGHT_PX = 36
CAPTION_SCALE = 0.6
GAP_PX = 4
WHITE = (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class PreviewArguments:
    """Which training images to draw, and where to."""

    epoch: int | None = None
    """The epoch whose first images are drawn, counted from 1. Not given: the first, and beneath it the last, which has
    no mosaic and no MixUp."""
    count: int = 8
    """Images of each epoch."""
    output: Path = Path("runs/preview.png")
    """The picture: .png or .jpg. Its folder is made if missing, and the file is replaced."""


class TrainingImage(NamedTuple):
    """An image as the network gets it."""

    image: UInt8[np.ndarray, "H W 3"]
    """BGR."""
    boxes: Float32[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px."""
    classes: Int32[np.ndarray, " N"]


def main(argv: list[str]) -> None:
    """Draws a sheet; `argv` is the command line after `data preview`."""
    arguments, config = parse_with_config(
        PreviewArguments,
        argv,
        prog="yolox-jax data preview",
        description="Draw the images of a training run exactly as its network sees them, with boxes and class names. "
        "They have the size of --data.input-size: multi-scale training resizes them later, on the device. Files "
        "are read whatever --data.cache says: out of a cache, resized images differ in the rounding of their pixels.",
    )
    epochs = _epochs(arguments, config)
    _check_output(arguments.output)
    # Here, so that the help and wrong flags are answered before grain is loaded.
    from yolox_jax.data.sources import open_datasets

    dataset = open_datasets(config.data, "train")
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    parts = []
    for epoch in epochs:
        images = training_images(dataset, config, epoch, arguments.count)
        counts = [len(one.boxes) for one in images]
        print(f"epoch {epoch}: {len(images)} images, {sum(counts)} objects, {counts.count(0)} images without any")
        parts.append(draw_part(_caption(config, epoch), images, dataset.class_names))
    # Written by Python, which says why where it cannot; OpenCV would say nothing.
    arguments.output.write_bytes(cv2.imencode(arguments.output.suffix, np.concatenate(parts))[1].tobytes())
    print(f"wrote {arguments.output}")


def _epochs(arguments: PreviewArguments, config: Config) -> list[int]:
    last = config.schedule.epochs
    if arguments.count < 1:
        raise ConfigError(f"--count {arguments.count} cannot work: it must be 1 or more")
    if arguments.epoch is None:
        return [1, last] if config.schedule.no_aug_epochs else [1]
    if not 1 <= arguments.epoch <= last:
        raise ConfigError(f"--epoch {arguments.epoch}: the epochs of this run are 1 to {last} (--schedule.epochs)")
    return [arguments.epoch]


def _check_output(path: Path) -> None:
    """Fail before the work rather than after it."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--output {path}: give the name of a picture that ends in .png or .jpg")
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder: give the name of a picture")
    ensure_writable_folder(path.parent, "the folder of --output,")


def _caption(config: Config, epoch: int) -> str:
    schedule, augment = config.schedule, config.data.augment
    place = f"epoch {epoch} of {schedule.epochs}: "
    if epoch > schedule.epochs - schedule.no_aug_epochs:
        return place + f"no mosaic and no MixUp in the last {schedule.no_aug_epochs}"
    return place + f"{augment.mosaic_probability:.0%} mosaics, {augment.mixup_probability:.0%} of them with MixUp"


def training_images(dataset: Dataset, config: Config, epoch: int, count: int) -> list[TrainingImage]:
    """The first `count` images of an epoch, counted from 1, of the stream that training reads.

    Raises:
        ConfigError: the epoch has fewer images.
        DataError: no image can be read.
    """
    from yolox_jax.data.pipeline import load_training_batch, steps_per_epoch

    batch_size = config.train.batch_size
    steps = steps_per_epoch(len(dataset.records), batch_size)
    if count > steps * batch_size:
        raise ConfigError(f"--count {count}: an epoch has no more than {steps * batch_size} images")
    images = []
    for first in range(0, count, batch_size):
        step, rows = (epoch - 1) * steps + first // batch_size, range(min(batch_size, count - first))
        batch, _ = load_training_batch(dataset, config, step, rows)
        for row, valid in enumerate(batch["valid"]):
            centres, sides = np.split(batch["boxes"][row, valid], 2, axis=1)
            corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
            images.append(TrainingImage(batch["images"][row], corners, batch["classes"][row, valid]))
    return images


def draw_part(caption: str, images: Sequence[TrainingImage], class_names: Sequence[str]) -> UInt8[np.ndarray, "H W 3"]:
    """Draw images side by side beneath a caption, with their boxes and class names.

    Large images are scaled down to fit, small ones up by a whole number. The width follows from the number of images
    and their size alone, so that parts can be put one above the other.
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
    """An image scaled until its longer side is about `side`, and drawn on after, so that labels can be read."""
    height, width = one.image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        scale = math.floor(scale)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    image = cv2.resize(one.image, size, interpolation=cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA)
    names = [class_names[index] for index in one.classes]
    drawn = draw_detections(image, one.boxes * np.float32(scale), None, one.classes, names)
    gap = GAP_PX // 2
    return cv2.copyMakeBorder(drawn, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=WHITE)
