"""Opens a data set in any of the formats that a config can name."""

import dataclasses
from pathlib import Path
from typing import Literal

from yolox_jax.config import ConfigError, DataConfig, DatasetConfig
from yolox_jax.data.dataset import STOP_AT_FIRST, DataError, Dataset, Faults
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.data.sources.joined import join, select_classes, take_share
from yolox_jax.data.sources.voc import read_voc
from yolox_jax.data.user_cache import user_cache


def open_datasets(data: DataConfig, which: Literal["train", "val"], *, faults: Faults = STOP_AT_FIRST) -> Dataset:
    """Read and check the annotations of everything that a config trains or evaluates on, as one data set.

    Args:
        data: where the data sets lie, and which classes are wanted.
        which: whether to open what is trained or what is evaluated on.
        faults: what to do about unsound entries.

    Raises:
        ConfigError: a setting that leads nowhere.
        DataError: annotations that are unsound, name images that do not exist, or hold nothing to train on.
    """
    first, more = (data.train, data.more_train) if which == "train" else (data.val, data.more_val)
    configs = {f"--data.{which}": _own_settings(first)}
    configs |= {f"data.more_{which}[{place}]": _own_settings(config) for place, config in enumerate(more)}
    dataset = join([_open_part(config, which, setting, faults) for setting, config in configs.items()])
    if data.classes:
        dataset = select_classes(dataset, data.classes, all_needed=which == "train")
    with faults:
        dataset = _check_not_empty(dataset, which, configs)
    return dataset


def _own_settings(config: DatasetConfig) -> DatasetConfig:
    """The settings of a data set, without built-in paths that were left there by the choice of another format."""
    if config.format == "coco":
        return config
    built_in = (DataConfig().train, DataConfig().val)
    images = "" if config.images in [other.images for other in built_in] else config.images
    annotations = "" if config.annotations in [other.annotations for other in built_in] else config.annotations
    return dataclasses.replace(config, images=images, annotations=annotations)


def _open_part(config: DatasetConfig, which: Literal["train", "val"], setting: str, faults: Faults) -> Dataset:
    """Read one data set; `setting` is what errors call it."""
    split = config.split or which
    if config.format == "coco":
        dataset = _open_coco(config, setting, faults)
    elif config.format == "voc":
        folder = _folder(config.images, f"{setting}.images")
        dataset = read_voc(folder, split, difficult=config.difficult, setting=setting, faults=faults)
    elif config.format == "yolo":
        dataset = _open_yolo(config, split, setting, faults)
    elif config.format == "tfds":
        from yolox_jax.data.sources.tfds_records import read_tfds

        images = Path(config.images).expanduser() if config.images else None
        dataset = read_tfds(
            config.annotations, split, images, difficult=config.difficult, setting=setting, faults=faults
        )
    else:
        dataset = _open_shapes(config, split, setting)
    return take_share(dataset, config.fraction)


def _check_not_empty(dataset: Dataset, which: Literal["train", "val"], read_from: dict[str, DatasetConfig]) -> Dataset:
    """The data set, if there is something to train on; with a warning if there is nothing to evaluate on."""
    kind = "training" if which == "train" else "validation"
    sources = ", ".join(
        f"{setting}.annotations {config.annotations}"
        if config.annotations
        else f"{setting}.split {config.split or which} of {config.images}"
        for setting, config in read_from.items()
    )
    if not dataset.records:
        raise DataError(f"no {kind} images: {dataset.name} lists none ({sources})", kind="no images")
    if any(len(record.boxes) for record in dataset.records):
        return dataset
    found = f"none of the {len(dataset.records)} {kind} images has a box ({sources})"
    if which == "train":
        mended = "".join(f"; {warning}" for warning in dataset.warnings)
        raise DataError(
            f"{found}: there is nothing to learn from. Add boxes, or name other annotations{mended}", kind="no boxes"
        )
    return dataclasses.replace(dataset, warnings=(*dataset.warnings, f"{found}: AP is undefined"))


def _open_coco(config: DatasetConfig, setting: str, faults: Faults) -> Dataset:
    annotations = _file(config.annotations, f"{setting}.annotations", "the JSON file of the annotations")
    return read_coco(_folder(config.images, f"{setting}.images"), annotations, setting=setting, faults=faults)


def _open_yolo(config: DatasetConfig, split: str, setting: str, faults: Faults) -> Dataset:
    # The sizes of images are not in the annotations, and are read from some with OpenCV.
    from yolox_jax.data.sources.yolo_txt import read_yolo

    data_yaml = _file(config.annotations, f"{setting}.annotations", "the data.yaml")
    root = _folder(config.images, f"{setting}.images") if config.images else None
    return read_yolo(data_yaml, split, root, setting=setting, faults=faults)


def _open_shapes(config: DatasetConfig, split: str, setting: str) -> Dataset:
    # Generating draws with OpenCV, which reading annotations does without.
    from yolox_jax.data.sources.shapes import ensure_shapes

    if split not in ("train", "val"):
        raise ConfigError(f"{setting}.split is {split!r}: the shapes have the splits train and val")
    folder = Path(config.images).expanduser() if config.images else user_cache() / "shapes-v1"
    ensure_shapes(folder, setting=f"{setting}.images")
    return read_coco(folder / "images", folder / f"instances_{split}.json", setting=setting)


def _file(name: str, setting: str, what: str) -> Path:
    if not name:
        raise ConfigError(f"{setting} is empty: name {what}")
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"{setting}: no file {path}; name {what}")
    return path


def _folder(name: str, setting: str) -> Path:
    if not name:
        raise ConfigError(f"{setting} is empty: name the folder of the images")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{setting}: no folder {folder}")
    return folder
