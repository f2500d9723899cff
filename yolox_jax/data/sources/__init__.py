"""Opens datasets of any format that a config can name."""

import dataclasses
from pathlib import Path
from typing import Literal

from yolox_jax.config import ConfigError, DataConfig, DatasetConfig
from yolox_jax.data.dataset import DataError, Dataset, with_pixel_format
from yolox_jax.data.pixel_format import BGR8, pixel_format
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, ErrorHandler, leaves_out_difficult
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.data.sources.joined import join, select_classes, take_share
from yolox_jax.data.sources.python_items import ItemArchive
from yolox_jax.data.sources.remarks import RemarkKind
from yolox_jax.data.sources.voc import read_voc
from yolox_jax.data.tiles import cut_into_tiles
from yolox_jax.files import expand_home, user_cache

UNDEFINED_AP = RemarkKind(
    "validation images without any box", "warning", "AP is undefined. Add boxes, or pass other annotations."
)

_COCO_IMAGES = "Pass the folder of the images, such as mine/images."
_COCO_ANNOTATIONS = "Pass the JSON file of the annotations, such as mine/annotations.json."
_VOC_IMAGES = "For VOC, pass the folder that holds Annotations, ImageSets and JPEGImages."
_YOLO_ANNOTATIONS = "For YOLO, pass the data.yaml."
_TFDS_ANNOTATIONS = "For TensorFlow Datasets, pass the name of the dataset, such as coco/2017."

_REQUIRED_PATHS = {
    "coco": {"images": _COCO_IMAGES, "annotations": _COCO_ANNOTATIONS},
    "voc": {"images": _VOC_IMAGES},
    "yolo": {"annotations": _YOLO_ANNOTATIONS},
    "tfds": {"annotations": _TFDS_ANNOTATIONS},
    "shapes": {},
}
"""The paths that each format requires, and what to pass for them."""


def open_datasets(
    data: DataConfig, which: Literal["train", "val"], *, errors: ErrorHandler = RAISE_AT_FIRST
) -> Dataset:
    """Read and check all annotations that a config trains or evaluates on, joined into one dataset.

    Training images are cut into tiles if the config says so.

    Args:
        data: the paths of the datasets, and the classes to use.
        which: whether to open the training or the validation images.
        errors: what to do about invalid entries.

    Raises:
        ConfigError: a setting is empty, or names a file, folder, split or class that does not exist.
        DataError: annotations are invalid or name images that do not exist, or there is nothing to train on.
    """
    configs = _configs(data, which)
    for setting, config in configs.items():
        _check_paths_given(config, setting)
    dataset = join([_read(config, which, setting, errors) for setting, config in configs.items()])
    if data.classes:
        dataset = select_classes(dataset, data.classes, all_required=which == "train")
    with errors:
        _check_class_names(dataset)
    with errors:
        dataset = _check_not_empty(dataset, which, configs, errors)
    with errors:
        dataset = cut_into_tiles(dataset, data) if which == "train" else dataset
    return with_pixel_format(dataset, pixel_format(data))


def open_dataset(
    config: DatasetConfig, which: Literal["train", "val"] = "train", *, errors: ErrorHandler = RAISE_AT_FIRST
) -> Dataset:
    """Read and check one dataset.

    Args:
        config: its format and paths.
        which: what the images are used for: the split to read where `config.split` is empty, and the setting that
            errors name.
        errors: what to do about invalid entries.

    Raises:
        ConfigError: a setting is empty, or names a file, folder or split that does not exist.
        DataError: annotations are invalid or name images that do not exist, or there is nothing to train on.
    """
    return open_datasets(DataConfig(train=config, val=config), which, errors=errors)


def use_dataset(dataset: Dataset, data: DataConfig, which: Literal["train", "val"], *, argument: str) -> Dataset:
    """Check a dataset that is used in place of those of a config, and select its classes as for them.

    Args:
        dataset: all of it.
        data: the classes to use, and the format of the images.
        which: what the images are used for.
        argument: the name of the argument that it was passed as, for errors.

    Raises:
        ConfigError: it is no dataset, does not have one of the classes, or has arrays with other channels or bits.
        DataError: there is nothing to train on.
    """
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"{argument} must be a Dataset, got {type(dataset).__name__}. Make one of it with "
            "yolox_jax.make_dataset(items, class_names)"
        )
    if data.classes:
        dataset = select_classes(dataset, data.classes, all_required=which == "train")
    pixels = pixel_format(data)
    for record in dataset.records:
        # What files hold shows when they are read; of arrays it is known.
        is_colour = record.pixels == BGR8 and (pixels.channels in (1, 3) or not isinstance(record.archive, ItemArchive))
        if record.pixels != pixels and not is_colour:
            raise ConfigError(
                f"the images of {argument} have {record.pixels}, but the config asks for {pixels}. Set data.channels "
                f"to {record.pixels.channels} and data.bits to {record.pixels.bits}"
            )
    dataset = _check_not_empty(dataset, which, {}, RAISE_AT_FIRST, argument=argument)
    dataset = with_pixel_format(dataset, pixels)
    return cut_into_tiles(dataset, data) if which == "train" else dataset


def check_datasets_named(data: DataConfig) -> None:
    """Check that a config names its datasets, without looking for them.

    Raises:
        ConfigError: a path that the format requires is empty.
    """
    for setting, config in (_configs(data, "train") | _configs(data, "val")).items():
        _check_paths_given(config, setting)


def _configs(data: DataConfig, which: Literal["train", "val"]) -> dict[str, DatasetConfig]:
    """The datasets to train or evaluate on, by what errors call them."""
    first, more = (data.train, data.more_train) if which == "train" else (data.val, data.more_val)
    configs = {f"--data.{which}": first}
    return configs | {f"data.more_{which}[{index}]": config for index, config in enumerate(more)}


def _check_paths_given(config: DatasetConfig, setting: str) -> None:
    """Check that every path that the format requires is set; `setting` is what errors call the dataset."""
    empty = [name for name in _REQUIRED_PATHS[config.format] if not getattr(config, name)]
    if empty:
        raise ConfigError(
            " ".join(f"{setting}.{name} is empty. {_REQUIRED_PATHS[config.format][name]}" for name in empty)
            + f" Or pass a whole dataset to train and evaluate as --data PATH. To try things out without a dataset, "
            f"use {setting}.format shapes."
        )


def _read(config: DatasetConfig, which: Literal["train", "val"], setting: str, errors: ErrorHandler) -> Dataset:
    """Read one dataset; `setting` is what errors call it."""
    read = {"coco": _coco, "voc": _voc, "yolo": _yolo, "tfds": _tfds, "shapes": _shapes}[config.format]
    return take_share(read(config, config.split or which, setting, errors), config.fraction)


def _coco(config: DatasetConfig, split: str, setting: str, errors: ErrorHandler) -> Dataset:
    images, annotations = _path(config.images), _path(config.annotations)
    _check_file(annotations, f"{setting}.annotations", _COCO_ANNOTATIONS)
    _check_folder(images, f"{setting}.images", _COCO_IMAGES)
    return read_coco(images, annotations, setting=setting, errors=errors)


def _voc(config: DatasetConfig, split: str, setting: str, errors: ErrorHandler) -> Dataset:
    images = _path(config.images)
    _check_folder(images, f"{setting}.images", _VOC_IMAGES)
    return read_voc(images, split, difficult=config.difficult, setting=setting, errors=errors)


def _yolo(config: DatasetConfig, split: str, setting: str, errors: ErrorHandler) -> Dataset:
    from yolox_jax.data.sources.yolo_txt import read_yolo  # imports OpenCV, to read the sizes of images

    annotations, root = _path(config.annotations), _path(config.images) if config.images else None
    _check_file(annotations, f"{setting}.annotations", _YOLO_ANNOTATIONS)
    if root is not None:
        _check_folder(root, f"{setting}.images", "Pass the folder that the paths in the data.yaml start from.")
    return read_yolo(annotations, split, root, setting=setting, errors=errors)


def _tfds(config: DatasetConfig, split: str, setting: str, errors: ErrorHandler) -> Dataset:
    from yolox_jax.data.sources.tfds_records import read_tfds  # imports OpenCV, to read the sizes of images

    root = _path(config.images) if config.images else None
    return read_tfds(config.annotations, split, root, difficult=config.difficult, setting=setting, errors=errors)


def _shapes(config: DatasetConfig, split: str, setting: str, errors: ErrorHandler) -> Dataset:
    from yolox_jax.data.sources.shapes import ensure_shapes  # imports OpenCV, to draw the images

    if split not in ("train", "val"):
        raise ConfigError(f"{setting}.split must be train or val for the generated shapes; got {split!r}.")
    folder = _path(config.images) if config.images else user_cache() / "shapes-v1"
    ensure_shapes(folder, setting=f"{setting}.images")
    return read_coco(folder / "images", folder / f"instances_{split}.json", setting=setting)


def _path(text: str) -> Path:
    return expand_home(text)


def _check_file(path: Path, setting: str, advice: str) -> None:
    if not path.is_file():
        raise ConfigError(f"{setting}: the file {path} does not exist. {advice}")


def _check_folder(path: Path, setting: str, advice: str) -> None:
    if not path.is_dir():
        raise ConfigError(f"{setting}: the folder {path} does not exist. {advice}")


def _check_not_empty(
    dataset: Dataset,
    which: Literal["train", "val"],
    configs: dict[str, DatasetConfig],
    errors: ErrorHandler,
    *,
    argument: str = "",
) -> Dataset:
    """Check that there is something to train on; add a warning if there is nothing to evaluate on."""
    kind = "training" if which == "train" else "validation"
    sources = ", ".join(
        f"{setting}.annotations {config.annotations}"
        if config.annotations
        else f"{setting}.split {config.split or which} of {config.images}"
        for setting, config in configs.items()
    )
    sources = sources or argument
    if not dataset.records:
        raise DataError(f"no {kind} images: {dataset.name} lists none ({sources}).", kind="no images")
    if any(len(record.boxes) for record in dataset.records):
        return dataset
    number = len(dataset.records)
    none = f"the only {kind} image has no box" if number == 1 else f"none of the {number} {kind} images has a box"
    problem = f"{none} ({sources})"
    left_out = _left_out(dataset, configs)
    if which == "train":
        repairs = f". Warnings: {'; '.join(dataset.warnings)}" if dataset.warnings else ""
        way_out = left_out or "Add boxes, or pass other annotations"
        raise DataError(f"{problem}, so there is nothing to learn from. {way_out}{repairs}.", kind="no boxes")
    reason = f". {left_out}" if left_out else ""
    errors.start_remarks().add(UNDEFINED_AP, f"{problem}{reason}")
    return dataclasses.replace(dataset, warnings=(*dataset.warnings, f"{problem}, so AP is undefined{reason}"))


def _left_out(dataset: Dataset, configs: dict[str, DatasetConfig]) -> str:
    """Say which annotations of a dataset without boxes were left out, and what to do; empty if none were."""
    annotations = dataset.ground_truth["annotations"]
    crowds = sum(bool(entry["iscrowd"]) for entry in annotations)
    ignored = sum("ignore" in entry and not entry["iscrowd"] for entry in annotations)
    some = f"{crowds + ignored} of {len(annotations)} annotations are"
    if crowds + ignored == len(annotations):
        some = "The only annotation is" if len(annotations) == 1 else f"All {len(annotations)} annotations are"
    difficult = [setting for setting, config in configs.items() if leaves_out_difficult(config)]
    if crowds and difficult:
        return f"{some} marked as difficult or as crowd, which {difficult[0]}.difficult ignore excludes"
    marks = [mark for count, mark in ((crowds, "iscrowd: 1 (crowd)"), (ignored, "ignore: 1")) if count]
    if not marks:
        return ""
    return f"{some} marked {' or '.join(marks)}, which is not trained on. Set this to 0 for objects"


def _check_class_names(dataset: Dataset) -> None:
    """Check that class names can be written to files; text with escapes in JSON may hold half a character."""
    for name in dataset.class_names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{dataset.name}: the class name {name!r} is not valid Unicode. Rename the class.",
                kind="malformed entries",
            ) from error
