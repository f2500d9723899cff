"""Reads datasets in Pascal VOC layout: Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler
from yolox_jax.data.sources.ground_truth import ground_truth_of
from yolox_jax.data.sources.remarks import Remarks
from yolox_jax.data.sources.voc_images import find_images, with_sizes_of_images
from yolox_jax.data.sources.voc_lists import is_left_by_system, name_key, read_list
from yolox_jax.data.sources.voc_xml import Annotation, read_annotation


def read_voc(
    root: Path,
    split: str,
    *,
    difficult: Literal["use", "ignore"] = "use",
    setting: str = "--data",
    errors: ErrorHandler = RAISE_AT_FIRST,
) -> Dataset:
    """Read one split of a Pascal VOC dataset.

    Classes are the names in the annotations of all splits, in alphabetical order, so that all splits have the same.
    Corner coordinates are used as they are. Boxes are clipped to their image; boxes without area are ignored. The size
    of an image comes from its XML file, or from the image where the file gives none. Hidden files are left alone.

    Args:
        root: folder that holds Annotations, ImageSets and JPEGImages.
        split: name of the list, such as `train` for ImageSets/Main/train.txt.
        difficult: `use` treats difficult objects like all others (docs/yolox.md, 9.3). `ignore` leaves them out of the
            records and makes them crowds in the ground truth, where detections of them count neither way.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about invalid entries.

    Raises:
        ConfigError: a folder or split does not exist.
        DataError: an annotation file is invalid, or image files are missing; the message names them.
    """
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        if not (root / folder).is_dir():
            raise ConfigError(
                f"{setting}.images: {root} has no folder {folder}. For VOC, pass the folder that holds Annotations, "
                f"JPEGImages and ImageSets/Main, where {split}.txt lists the names of the images, one per line."
            )
    remarks = errors.start_remarks()
    files = _annotation_files(root / "Annotations")
    names = read_list(root, split, files, setting, errors, remarks)
    annotations = _read_annotations(files, errors, remarks)
    names = [name for name in names if name in annotations]
    class_names = tuple(sorted({name for annotation in annotations.values() for name in annotation.names}))
    paths = find_images(root / "JPEGImages", annotations, names, setting, errors, remarks)
    sized, unreadable = with_sizes_of_images(annotations, paths, remarks)
    cleaner = BoxCleaner(errors)
    whole = [
        _record(path, number, files[name].name, sized[name], class_names, cleaner)
        for number, (name, path) in enumerate(paths.items(), start=1)
    ]
    left_out = [mask & (difficult == "ignore") for _, mask in whole]
    records = tuple(_part(record, ~mask) for (record, _), mask in zip(whole, left_out, strict=True))
    ignored = [_part(record, mask) for (record, _), mask in zip(whole, left_out, strict=True)]
    category_ids = range(1, len(class_names) + 1)
    return Dataset(
        name=f"{root.name}/{split}",
        class_names=class_names,
        category_ids=tuple(category_ids),
        records=records,
        ground_truth=ground_truth_of(records, dict(zip(category_ids, class_names, strict=True)), ignored),
        warnings=(*remarks.warnings(), *unreadable, *cleaner.warnings()),
    )


def _annotation_files(folder: Path) -> dict[str, Path]:
    """Return the XML files by name."""
    return {
        name_key(path.stem): path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".xml" and not is_left_by_system(path.name)
    }


def _read_annotations(files: dict[str, Path], errors: ErrorHandler, remarks: Remarks) -> dict[str, Annotation]:
    annotations = {}
    for name, path in files.items():
        with errors:
            annotations[name] = read_annotation(path, errors, remarks)
    return annotations


def _record(
    path: Path, number: int, xml: str, annotation: Annotation, names: tuple[str, ...], cleaner: BoxCleaner
) -> tuple[Record, Bool[np.ndarray, " N"]]:
    """Return the image with all its objects, and which of them are difficult."""
    assert annotation.size is not None
    height, width = annotation.size
    boxes = np.array(annotation.boxes_xyxy, np.float64).reshape(-1, 4)
    where = [f"object {index} of {xml}" for index in annotation.numbers]
    boxes, keep = cleaner.clean(boxes, height, width, where, path)
    classes = np.array([names.index(name) for name in annotation.names], np.int32)
    record = Record(path, number, height, width, boxes[keep].astype(np.float32), classes[keep])
    return record, np.array(annotation.difficult, bool)[keep]


def _part(record: Record, mask: Bool[np.ndarray, " N"]) -> Record:
    return dataclasses.replace(record, boxes=record.boxes[mask], classes=record.classes[mask])
