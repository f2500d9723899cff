"""Reads detection datasets of TensorFlow Datasets that are prepared as ArrayRecord."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler
from yolox_jax.data.sources.ground_truth import coco_layout, rows_of
from yolox_jax.data.sources.tfds_files import (
    TfdsArchive,
    check_features,
    check_installed,
    describe_files,
    find_split,
    open_builder,
)
from yolox_jax.data.sources.tfds_index import Index, read_index
from yolox_jax.text import counted


def read_tfds(
    name: str,
    split: str,
    data_dir: Path | None,
    *,
    difficult: Literal["use", "ignore"] = "use",
    setting: str = "--data",
    errors: ErrorHandler = RAISE_AT_FIRST,
) -> Dataset:
    """Read one split of a dataset with the features `image` and `objects` (`bbox`, `label`), such as `coco/2017`.

    Images stay in the ArrayRecord files. Reading their sizes takes one pass over the split; the result is kept in the
    user's cache. Classes are the names of the ClassLabel; category ids count from 1 in the same order. Boxes are
    fractions of the image as stored; if its EXIF orientation rotates the image, the boxes are rotated too. Boxes are
    clipped to their image; boxes without area are ignored. Crowds (`is_crowd`) are in the ground truth only.

    Args:
        name: of the dataset, such as `coco/2017` or `voc/2007:5.0.0`; by default the newest prepared version.
        split: such as `train` or `validation[:10%]`; `val` also finds `validation`.
        data_dir: folder of the prepared datasets; None for the default of the library.
        difficult: `use` treats objects marked `is_difficult` like all others; `ignore` leaves them out of the records
            and makes them crowds in the ground truth.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about invalid objects.

    Raises:
        ConfigError: the library, the dataset or its split is missing, or the dataset has another format or no boxes.
        DataError: data files are missing or cannot be read, or objects are invalid.
    """
    check_installed(setting)
    builder = open_builder(name, data_dir, setting)
    class_names = check_features(builder, setting)
    split = find_split(builder, split, setting)
    index = read_index(builder, split)
    where = Path(*builder.info.full_name.split("/")[:-1], split)
    if index.boxes.max(initial=0.0) > 2.0:
        raise DataError(
            f"{where}: boxes must be fractions of their image; the largest coordinate is {index.boxes.max():g}"
        )
    left_out = index.crowds | index.difficult if difficult == "ignore" else index.crowds
    cleaner, archive = BoxCleaner(errors), TfdsArchive(Path(builder.data_dir), split, describe_files(builder, split))
    records, annotations = _records(index, left_out, len(class_names), where, archive, cleaner)
    return Dataset(
        name=str(where),
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=records,
        ground_truth=coco_layout(rows_of(records), annotations, dict(enumerate(class_names, start=1))),
        warnings=(*cleaner.warnings(), *_rotation_warning(index)),
    )


def _records(
    index: Index,
    left_out: Bool[np.ndarray, " M"],
    num_classes: int,
    where: Path,
    archive: TfdsArchive,
    cleaner: BoxCleaner,
) -> tuple[tuple[Record, ...], list[dict[str, Any]]]:
    """Return the records, and the annotations of the ground truth, in which objects left out are crowds."""
    records: list[Record] = []
    annotations: list[dict[str, Any]] = []
    ends = np.cumsum(index.counts)
    for place, (name, image_id, height, width, orientation, count, end) in enumerate(
        zip(index.names.tolist(), index.image_ids.tolist(), index.heights.tolist(), index.widths.tolist(),
            index.orientations.tolist(), index.counts.tolist(), ends.tolist(), strict=True)
    ):  # fmt: skip
        if height == 0:  # unreadable: loading reports it as data.broken_images says
            height, width, count = 1, 1, 0
        if orientation >= 5:
            height, width = width, height
        objects, path = slice(end - count, end), where / name.lstrip("/")
        boxes = rotate_boxes(index.boxes[objects], orientation) * (width, height, width, height)
        names = [f"object {number} of {name}" for number in range(count)]
        boxes, keep = cleaner.clean(boxes, height, width, names, path)
        labels = index.labels[objects]
        known = (labels >= 0) & (labels < num_classes)
        with cleaner.errors:
            if not known.all():
                first = int(known.argmin())
                raise DataError(
                    f"{where}: {names[first]} has the label {labels[first]}; the classes are 0 to {num_classes - 1}",
                    kind="unknown classes",
                )
        keep &= known
        used = keep & ~left_out[objects]
        records.append(
            Record(path, image_id, height, width, boxes[used].astype(np.float32), labels[used], archive, place)
        )
        for number in np.flatnonzero(keep).tolist():
            x1, y1, x2, y2 = boxes[number].tolist()
            area = float(index.areas[objects][number])
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": int(labels[number]) + 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area if area > 0 else (x2 - x1) * (y2 - y1),
                 "iscrowd": int(left_out[objects][number])}
            )  # fmt: skip
    return tuple(records), annotations


def rotate_boxes(boxes: Float32[np.ndarray, "N 4"], orientation: int) -> Float64[np.ndarray, "N 4"]:
    """Convert boxes of an image as stored to boxes of the upright image.

    Args:
        boxes: ymin, xmin, ymax, xmax as fractions.
        orientation: EXIF orientation, 1 to 8.

    Returns:
        x1, y1, x2, y2 as fractions.
    """
    y1, x1, y2, x2 = boxes.astype(np.float64).T
    if orientation >= 5:
        x1, y1, x2, y2 = y1, x1, y2, x2
    if orientation in (2, 3, 6, 7):
        x1, x2 = 1 - x2, 1 - x1
    if orientation in (3, 4, 7, 8):
        y1, y2 = 1 - y2, 1 - y1
    return np.stack([x1, y1, x2, y2], axis=1)


def _rotation_warning(index: Index) -> tuple[str, ...]:
    rotated = np.flatnonzero(index.orientations != 1)
    if not len(rotated):
        return ()
    images = counted(len(rotated), "image by its", "images by their")
    return (f"rotated the boxes of {images} EXIF orientation (first: {index.names[rotated[0]]})",)
