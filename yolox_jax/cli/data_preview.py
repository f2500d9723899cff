"""`yolox-jax data preview`: draws training images exactly as the network sees them, with their objects."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from yolox_jax.cli.dataset_path import announce_datasets
from yolox_jax.cli.settings import CONFIG_OF_PATH, parse_with_config, requested_config
from yolox_jax.cli.terminal import say
from yolox_jax.config import Config, ConfigError
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted

USED_SETTINGS = (
    "data.train",
    "data.classes",
    "data.input_size",
    "data.channels",
    "data.bits",
    "data.tile",
    "data.tile_overlap",
    "data.empty_tiles",
    "data.max_boxes",
    "data.repeat_threshold",
    "data.augment",
    "schedule.epochs",
    "schedule.no_aug_epochs",
    "train.batch_size",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class PreviewArguments:
    """Which training images to draw, and where to save the picture."""

    path: Annotated[Path | None, tyro.conf.Positional] = None
    """A dataset to draw in place of that of the config: a data.yaml (YOLO), a COCO JSON file, or the folder of a
    YOLO, COCO, VOC or Roboflow dataset."""
    epoch: int | None = None
    """Draw the first images of this epoch, counted from 1. By default, of the first epoch and, below, of the last one,
    which has no mosaic and no MixUp."""
    count: int = 8
    """Number of images per epoch."""
    output: Path = Path("runs/preview.png")
    """Output file, .png or .jpg. An existing file is replaced."""


def main(argv: list[str]) -> None:
    """Draws the sheet; `argv` is the command line after `data preview`."""
    arguments, config = parse_with_config(
        PreviewArguments,
        argv,
        prog="yolox-jax data preview",
        description="Draw training images exactly as the network sees them, with boxes and class names. They have the "
        "size of --data.input-size: multi-scale training resizes them later, on the device. Images are read from their "
        "files even if --data.cache is set; cached images, which are resized before augmentation, differ slightly in "
        "their pixel values.",
        path_field="path",
        path_suffices=True,
        uses=USED_SETTINGS,
    )
    if arguments.path is not None:
        announce_datasets(arguments.path, config, ("train",))
        name = requested_config(argv) or CONFIG_OF_PATH
        say(f"settings of the config {name}, as `train --config {name}` uses them; pass --config for another")
    epochs = _epochs(arguments, config)
    _check_output(arguments.output)
    # Imported here, so that --help and errors in flags do not wait for grain.
    from yolox_jax.data.sources import open_datasets
    from yolox_jax.data.training_images import augmented_images
    from yolox_jax.report.training_sheet import write_training_sheet
    from yolox_jax.training.step.drawing import images_of

    dataset = open_datasets(config.data, "train")
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    images = {epoch: augmented_images(dataset, config, epoch, arguments.count, images_of) for epoch in epochs}
    write_training_sheet(arguments.output, images, config, dataset.class_names)
    for epoch, of_epoch in images.items():
        counts = [len(one.boxes) for one in of_epoch]
        images_and_objects = f"{counted(len(counts), 'image')}, {counted(sum(counts), 'object')}"
        print(f"epoch {epoch}: {images_and_objects}, {counted(counts.count(0), 'image')} without objects")
    print(f"wrote {arguments.output}")


def _epochs(arguments: PreviewArguments, config: Config) -> list[int]:
    last = config.schedule.epochs
    if arguments.count < 1:
        raise ConfigError(f"--count must be at least 1, got {arguments.count}")
    if arguments.epoch is None:
        return [1, last] if config.schedule.no_aug_epochs else [1]
    if not 1 <= arguments.epoch <= last:
        raise ConfigError(f"--epoch must be between 1 and {last} (--schedule.epochs), got {arguments.epoch}")
    return [arguments.epoch]


def _check_output(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigError(f"--output must be a file name that ends in .png or .jpg, got {path}")
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder; pass a file name")
    ensure_writable_folder(path.parent, "the folder of --output,")
