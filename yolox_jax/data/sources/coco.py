"""Reads datasets in COCO layout: one JSON file of annotations, one folder of images."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler, check_images_exist
from yolox_jax.data.sources.ground_truth import coco_layout
from yolox_jax.data.sources.json_file import is_number, read_json

AREA_OF_BOX, REPEATED_ID = "annotations without an area", "duplicate annotation ids"
"""Kinds of annotations that this reader repairs."""


def read_coco(
    images: Path, annotations: Path, *, setting: str = "--data", errors: ErrorHandler = RAISE_AT_FIRST
) -> Dataset:
    """Read a COCO annotation file and check all of it (docs/yolox.md, 7.1).

    Classes follow the category ids in ascending order. Boxes are clipped to their image. Boxes without area, crowds
    and annotations with `ignore: 1` are left out of the records. `ground_truth` keeps every annotation unchanged, so
    that scores equal those of other programs; only an area that is missing or not above 0 is replaced by that of the
    box. `ignore: 1` does not affect scores: pycocotools overwrites it with `iscrowd`.

    Args:
        images: folder that the `file_name` of every image is relative to.
        annotations: the JSON file.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about invalid entries.

    Raises:
        DataError: an entry is invalid; the message names the file and the entry.
    """
    content = _load(annotations)
    names = _categories(content["categories"], annotations, errors)
    rows = _images(content["images"], annotations, errors)
    unannotated = () if "annotations" in content else ("there is no list 'annotations', so no evaluation",)
    by_image = _group(content.get("annotations", []), rows, names, annotations, errors)
    rows = {key: row for key, row in rows.items() if row}
    by_image = {key: by_image[key] for key in rows}
    area_warnings = _repair_areas(by_image, rows, images, errors)
    if errors.collect:  # training assigns new ids, so they do not matter there
        _note_repeated_ids(by_image, rows, images, errors)
    with errors:
        check_images_exist(
            {images / row["file_name"]: f"image id {key}" for key, row in rows.items()},
            str(annotations),
            f"{setting}.images",
        )
    rank = {category: index for index, category in enumerate(names)}
    cleaner = BoxCleaner(errors)
    records = tuple(_record(images, row, by_image[key], rank, cleaner) for key, row in rows.items())
    return Dataset(
        name=annotations.stem,
        class_names=tuple(names.values()),
        category_ids=tuple(names),
        records=records,
        ground_truth=_ground_truth(rows, by_image, names),
        warnings=(*cleaner.warnings(), *area_warnings, *unannotated),
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


def _categories(entries: list[Any], path: Path, errors: ErrorHandler) -> dict[int, str]:
    """Return the names by category id, ids ascending."""
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: categories[{number}]"
        with errors:
            category = _integer(entry, "id", where)
            if category in names:
                raise DataError(
                    f"{where}: category id {category} appears twice. Give every category its own id.",
                    kind="duplicate category ids",
                )
            # Invalid categories are known too, so that their annotations do not cause further errors.
            names[category] = str(entry.get("name"))
            if not isinstance(entry.get("name"), str):
                raise DataError(f"{where}: category id {category} has no name", kind="malformed entries")
            other = ids.setdefault(entry["name"], category)
            if other != category:
                raise DataError(
                    f"{where}: category ids {other} and {category} are both named {entry['name']!r}. Give them "
                    "different names, or merge them.",
                    kind="categories of the same name",
                )
    if not names:
        raise DataError(f"{path}: the list 'categories' must name the classes, but is empty", kind="not in COCO layout")
    return dict(sorted(names.items()))


def _images(entries: list[Any], path: Path, errors: ErrorHandler) -> dict[int, dict[str, Any]]:
    """Return the image entries by id, in file order; invalid ones are empty, to recognise their annotations."""
    rows: dict[int, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        with errors:
            key = _integer(entry, "id", f"{path}: images[{number}]")
            if key in rows:
                raise DataError(
                    f"{path}: image id {key} appears twice ({rows[key].get('file_name')}, {entry.get('file_name')})",
                    kind="duplicate image ids",
                )
            rows[key] = {}
            rows[key] = _row(key, entry, f"{path}: image id {key}")
    return rows


def _row(key: int, entry: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
        raise DataError(f"{where} has no file_name", kind="malformed entries")
    row = {"id": key, "file_name": entry["file_name"]}
    for side in ("height", "width"):
        row[side] = _integer(entry, side, where)
        if row[side] <= 0:
            raise DataError(
                f"{where}: {side} must be the {side} of the image in px; got {row[side]}",
                kind="images without a size",
            )
    return row


def _group(
    entries: list[Any], rows: dict[int, dict[str, Any]], names: dict[int, str], path: Path, errors: ErrorHandler
) -> dict[int, list[dict[str, Any]]]:
    """Return the checked annotations by image id."""
    by_image: dict[int, list[dict[str, Any]]] = {key: [] for key in rows}
    for number, entry in enumerate(entries):
        where = f"{path}: annotations[{number}]"
        if isinstance(entry, dict) and "id" in entry:
            where = f"{path}: annotation id {entry['id']}"
        with errors:
            annotation = _annotation(entry, number, rows, names, where)
            by_image[annotation["image_id"]].append(annotation)
    return by_image


def _annotation(
    entry: Any, number: int, rows: dict[int, dict[str, Any]], names: dict[int, str], where: str
) -> dict[str, Any]:
    image, category = _integer(entry, "image_id", where), _integer(entry, "category_id", where)
    if image not in rows:
        raise DataError(
            f"{where}: unknown image id {image}. Add the image to 'images', or remove the annotation.",
            kind="unknown image ids",
        )
    if category not in names:
        known = ", ".join(map(str, list(names)[:10])) + (", ..." if len(names) > 10 else "")
        raise DataError(
            f"{where}: unknown category id {category}. The list 'categories' has {known}.", kind="unknown category ids"
        )
    box = _box(entry, where, rows[image].get("file_name"))
    area = entry.get("area")
    if area is not None and not (is_number(area) and math.isfinite(area)):
        raise DataError(f"{where}: area must be a number of square px; got {area!r}", kind="invalid areas")
    return {
        # New ids, because pycocotools takes an id of 0 for "no match". Messages use the old ones.
        "id": number + 1, "image_id": image, "category_id": category, "bbox": box, "area": area,
        "iscrowd": int(bool(entry.get("iscrowd", 0))), "source_id": entry.get("id", number),
        **({"ignore": 1} if entry.get("ignore") else {}),
    }  # fmt: skip


def _repair_areas(
    by_image: dict[int, list[dict[str, Any]]], rows: dict[int, dict[str, Any]], images: Path, errors: ErrorHandler
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
            errors.note_repair(AREA_OF_BOX, where, images / rows[image]["file_name"], _corners(entry["bbox"]))
            first = first or where
            count += 1
    if not count:
        return ()
    return (f"used the area of the box for {count} annotations whose area is missing or not positive (first: {first})",)


def _note_repeated_ids(
    by_image: dict[int, list[dict[str, Any]]], rows: dict[int, dict[str, Any]], images: Path, errors: ErrorHandler
) -> None:
    seen: set[str] = set()
    for image, entries in by_image.items():
        for entry in entries:
            name = repr(entry["source_id"])
            if name in seen:
                where = f"annotation id {name}, {rows[image]['file_name']}"
                errors.note_repair(REPEATED_ID, where, images / rows[image]["file_name"], _corners(entry["bbox"]))
            seen.add(name)


def _corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def _box(entry: dict[str, Any], where: str, file_name: str | None) -> list[float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise DataError(
            f"{where} ({file_name}): bbox must be [x, y, width, height] in px; got {box!r}", kind="malformed boxes"
        )
    if not all(map(math.isfinite, box)):
        raise DataError(
            f"{where} ({file_name}): bbox {box} contains NaN or infinity. Correct or remove the annotation.",
            kind="boxes with NaN or infinity",
        )
    if box[2] < 0 or box[3] < 0:
        raise DataError(
            f"{where} ({file_name}): bbox {box} has a negative width or height; bbox is [x, y, width, height], "
            "not corners",
            kind="boxes of negative size",
        )
    return [float(side) for side in box]


def _integer(entry: Any, key: str, where: str) -> int:
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: {key} must be an integer; got {value!r}", kind="malformed entries")
    return value


def _record(
    folder: Path, row: dict[str, Any], annotations: list[dict[str, Any]], rank: dict[int, int], cleaner: BoxCleaner
) -> Record:
    objects = [entry for entry in annotations if not entry["iscrowd"] and "ignore" not in entry]
    boxes = np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    where = [f"annotation id {entry['source_id']}, {row['file_name']}" for entry in objects]
    path = folder / row["file_name"]
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
    kept = [{key: entry[key] for key in entry if key != "source_id"} for entry in annotations]
    return coco_layout(list(rows.values()), kept, names)
