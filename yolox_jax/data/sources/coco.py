"""Reads datasets in COCO layout: one JSON file of annotations, one folder of images."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler, check_images_exist
from yolox_jax.data.sources.coco_entries import (
    CocoFile,
    read_annotations,
    read_categories,
    read_images,
    without_size,
)
from yolox_jax.data.sources.foreign_paths import locate_files
from yolox_jax.data.sources.ground_truth import coco_layout
from yolox_jax.data.sources.json_file import read_json
from yolox_jax.data.sources.remarks import RemarkKind
from yolox_jax.text import counted

AREA_OF_BOX, REPEATED_ID = "annotations without an area", "duplicate annotation ids"
"""Kinds of annotations that this reader repairs."""
SIZE_OF_IMAGE = RemarkKind(
    "image entries without a size",
    "warning",
    "Their height or width is missing or 0. Both are read from the images, after their EXIF rotation.",
)


def read_coco(
    images: Path, annotations: Path, *, setting: str = "--data", errors: ErrorHandler = RAISE_AT_FIRST
) -> Dataset:
    """Read a COCO annotation file and check all of it (docs/yolox.md, 7.1).

    Classes follow the category ids in ascending order. Boxes are clipped to their image. Boxes without area, crowds
    and annotations with `ignore: 1` are left out of the records. `ground_truth` keeps every annotation unchanged, so
    that scores equal those of other programs; only an area that is missing or not above 0 is replaced by that of the
    box. `ignore: 1` does not affect scores: pycocotools overwrites it with `iscrowd`.

    What programs write differently is read as meant where it has one meaning only, with a warning: numbers and flags as
    text, identical entries that are repeated, paths of another system or machine. A category without annotations that
    has the name of another one is left out. A size that is missing or 0 is read from the image.

    Args:
        images: folder that the `file_name` of every image is relative to.
        annotations: the JSON file.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about invalid entries.

    Raises:
        DataError: an entry is invalid; the message names the file and the entry.
    """
    content = _load(annotations)
    file = CocoFile(annotations, errors, errors.start_remarks())
    names = read_categories(content, file)
    rows = read_images(content["images"], file)
    unannotated = () if "annotations" in content else ("there is no list 'annotations', so no evaluation",)
    by_image = read_annotations(content.get("annotations", []), rows, names, file)
    rows = {key: row for key, row in rows.items() if row}
    paths = _locate_images(images, rows, file)
    rows = _with_sizes_of_images(rows, paths, setting, file)
    by_image = {key: by_image[key] for key in rows}
    paths = {key: paths[key] for key in rows}
    _check_images(images, rows, paths, setting, file)
    area_warnings = _repair_areas(by_image, rows, paths, errors)
    if errors.collect:  # training assigns new ids, so they do not matter there
        _note_repeated_ids(by_image, rows, paths, errors)
    rank = {category: index for index, category in enumerate(names)}
    cleaner = BoxCleaner(errors)
    records = tuple(_record(paths[key], row, by_image[key], rank, cleaner) for key, row in rows.items())
    return Dataset(
        name=annotations.stem,
        class_names=tuple(names.values()),
        category_ids=tuple(names),
        records=records,
        ground_truth=_ground_truth(rows, by_image, names),
        warnings=(*cleaner.warnings(), *area_warnings, *unannotated, *file.remarks.warnings()),
    )


def _load(path: Path) -> dict[str, Any]:
    content = read_json(path)
    # COCO's test images, whose annotations are secret, come without this list.
    lists = (
        "images",
        "categories",
        *(["annotations"] if not isinstance(content, dict) or "annotations" in content else []),
    )
    missing = [key for key in lists if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise DataError(
            f"{path} is not in COCO layout: it lacks the list {', '.join(map(repr, missing))}",
            kind="not in COCO layout",
        )
    return content


def _locate_images(folder: Path, rows: dict[int, dict[str, Any]], file: CocoFile) -> dict[int, Path]:
    """Return the image files by image id."""
    located = locate_files(folder, (row["file_name"] for row in rows.values()))
    for key, row in rows.items():
        path, kind = located[row["file_name"]]
        if kind is not None:
            file.remarks.add(kind, f"{file.path}: image id {key}: {row['file_name']} is read as {path}")
    return {key: located[row["file_name"]].path for key, row in rows.items()}


def _with_sizes_of_images(
    rows: dict[int, dict[str, Any]], paths: dict[int, Path], setting: str, file: CocoFile
) -> dict[int, dict[str, Any]]:
    """Read the sizes that entries lack from the images. Entries whose image cannot be read are errors, left out."""
    lacking = [key for key, row in rows.items() if not row["height"] or not row["width"]]
    if not lacking:
        return rows
    from yolox_jax.data.header import image_sizes  # imports OpenCV

    sized = dict(rows)
    for key, size in zip(lacking, image_sizes([paths[key] for key in lacking]), strict=True):
        row, where = sized.pop(key), f"{file.path}: image id {key}"
        if size is not None:
            height, width = size
            file.remarks.add(SIZE_OF_IMAGE, f"{where}: the size of {paths[key]} is {width}x{height} px")
            sized[key] = row | {"height": height, "width": width}
            continue
        with file.errors:
            side = "width" if row["height"] else "height"
            end = f", and {paths[key]} does not exist or is not an image. Add the size, or check {setting}.images"
            raise without_size(where, side, row[side], end)
    return {key: sized[key] for key in rows if key in sized}


def _check_images(
    folder: Path, rows: dict[int, dict[str, Any]], paths: dict[int, Path], setting: str, file: CocoFile
) -> None:
    entries = {path: f"image id {key}" for key, path in paths.items()}
    hint = _subfolder_hint(folder, next((row["file_name"] for row in rows.values()), ""))
    with file.errors:
        way_out = f"check {setting}.images{hint}, or remove these entries from the annotations"
        check_images_exist(entries, str(file.path), way_out)


def _subfolder_hint(folder: Path, file_name: str) -> str:
    """Name the subfolder that holds an image, where the folder itself does not."""
    if not file_name or os.path.exists(folder / file_name):  # noqa: PTH110 - accepts overlong names
        return ""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir())
    holding = next((path for path in subfolders if os.path.exists(path / file_name)), None)  # noqa: PTH110
    return f" ({holding} has such a file)" if holding else ""


def _repair_areas(
    by_image: dict[int, list[dict[str, Any]]],
    rows: dict[int, dict[str, Any]],
    paths: dict[int, Path],
    errors: ErrorHandler,
) -> tuple[str, ...]:
    """Use the area of the box where an annotation has none (converters omit it or write 0). Return the warnings."""
    count, first = 0, ""
    for image, entries in by_image.items():
        for entry in entries:
            area_of_box = entry["bbox"][2] * entry["bbox"][3]
            if entry["area"] is not None and (entry["area"] > 0 or area_of_box == 0):
                continue
            entry["area"] = area_of_box
            where = f"annotation id {entry['source_id']}, {rows[image]['file_name']}"
            errors.note_repair(AREA_OF_BOX, where, paths[image], _corners(entry["bbox"]))
            first = first or where
            count += 1
    if not count:
        return ()
    annotations = counted(count, "annotation")
    return (f"used the area of the box for {annotations} whose area is missing or not positive (first: {first})",)


def _note_repeated_ids(
    by_image: dict[int, list[dict[str, Any]]],
    rows: dict[int, dict[str, Any]],
    paths: dict[int, Path],
    errors: ErrorHandler,
) -> None:
    seen: set[str] = set()
    for image, entries in by_image.items():
        for entry in entries:
            name = repr(entry["source_id"])
            if name in seen:
                where = f"annotation id {name}, {rows[image]['file_name']}"
                errors.note_repair(REPEATED_ID, where, paths[image], _corners(entry["bbox"]))
            seen.add(name)


def _corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def _record(
    path: Path, row: dict[str, Any], annotations: list[dict[str, Any]], rank: dict[int, int], cleaner: BoxCleaner
) -> Record:
    objects = [entry for entry in annotations if not entry["iscrowd"] and "ignore" not in entry]
    boxes = np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    where = [f"annotation id {entry['source_id']}, {row['file_name']}" for entry in objects]
    boxes, keep = cleaner.clean(boxes, row["height"], row["width"], where, path)
    return Record(
        path=path,
        image_id=row["id"],
        height=row["height"],
        width=row["width"],
        boxes=boxes[keep].astype(np.float32),
        classes=np.array([rank[entry["category_id"]] for entry in objects], np.int32)[keep],
    )


def _ground_truth(
    rows: dict[int, dict[str, Any]], by_image: dict[int, list[dict[str, Any]]], names: dict[int, str]
) -> dict[str, Any]:
    annotations = sorted((entry for entries in by_image.values() for entry in entries), key=lambda entry: entry["id"])
    return coco_layout(list(rows.values()), annotations, names)
