"""Reads and checks the entries of a COCO file: categories, images and annotations."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.checks import ErrorHandler
from yolox_jax.data.sources.remarks import FLAGS_AS_TEXT, NUMBERS_AS_TEXT, RemarkKind, Remarks
from yolox_jax.data.sources.values import LARGEST_SIDE, as_flag, as_integer, as_number

REPEATED_CATEGORIES = RemarkKind(
    "categories listed more than once", "warning", "They have the same id and name, so they are one class."
)
REPEATED_IMAGES = RemarkKind(
    "image entries listed more than once", "warning", "They have the same id, file and size, so they are one image."
)
UNUSED_NAMESAKES = RemarkKind(
    "categories without annotations that share the name of another",
    "note",
    "They are left out. Roboflow writes such a category for the whole project.",
)
UNUSED_PARENTS = RemarkKind(
    "classes that only group others",
    "note",
    "They have no annotations, and other categories name them as supercategory, as in exports of Roboflow. The network "
    "has outputs for them that learn nothing. To leave them out, list the other classes in --data.classes.",
)


class CocoFile(NamedTuple):
    """What reading an entry needs to know of its file."""

    path: Path
    errors: ErrorHandler
    remarks: Remarks


def read_categories(content: dict[str, Any], file: CocoFile) -> dict[int, str]:
    """Return the names by category id, ids ascending."""
    used = {as_integer(entry.get("category_id")) for entry in content.get("annotations", []) if isinstance(entry, dict)}
    names: dict[int, str] = {}
    for number, entry in enumerate(content["categories"]):
        where = f"{file.path}: categories[{number}]"
        with file.errors:
            category = _integer(entry, "id", where, file)
            name = entry.get("name")
            if category in names:
                if str(name) != names[category]:
                    raise DataError(
                        f"{where}: category id {category} is named {name!r} here, and {names[category]!r} before. "
                        "Give every category its own id.",
                        kind="duplicate category ids",
                    )
                file.remarks.add(REPEATED_CATEGORIES, f"{where}: category id {category}, {name!r}")
                continue
            # Invalid categories are known too, so that their annotations do not cause further errors.
            names[category] = str(name)
            if isinstance(name, bool) or not isinstance(name, str | int | float):
                raise DataError(
                    f"{where}: category id {category} has no name; 'name' is {name!r}", kind="malformed entries"
                )
    if not names:
        raise DataError(
            f"{file.path}: the list 'categories' must name the classes, but is empty", kind="not in COCO layout"
        )
    names = _without_namesakes(dict(sorted(names.items())), used, file)
    _remark_on_parents(content["categories"], names, used, file)
    return names


def _without_namesakes(names: dict[int, str], used: set[int | None], file: CocoFile) -> dict[int, str]:
    """Leave out categories without annotations whose name another one has. Two with annotations are an error."""
    by_name: dict[str, list[int]] = {}
    for category, name in names.items():
        by_name.setdefault(name, []).append(category)
    left_out: set[int] = set()
    for name, categories in by_name.items():
        kept = [category for category in categories if category in used] or categories[-1:]
        for category in set(categories) - set(kept):
            left_out.add(category)
            file.remarks.add(
                UNUSED_NAMESAKES, f"{file.path}: category id {category}, {name!r}; category id {kept[-1]} is used"
            )
        for other in kept[1:]:
            with file.errors:
                raise DataError(
                    f"{file.path}: category ids {kept[0]} and {other} are both named {name!r} and both have "
                    "annotations. Give them different names, or merge them.",
                    kind="categories of the same name",
                )
    return {category: name for category, name in names.items() if category not in left_out}


def _remark_on_parents(entries: list[Any], names: dict[int, str], used: set[int | None], file: CocoFile) -> None:
    parents = {
        entry.get("supercategory")
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("supercategory"), str)
        if entry.get("name") != entry.get("supercategory")
    }
    for category, name in names.items():
        if category not in used and name in parents:
            file.remarks.add(UNUSED_PARENTS, f"{file.path}: category id {category}, {name!r}")


def read_images(entries: list[Any], file: CocoFile) -> dict[int, dict[str, Any]]:
    """Return the image entries by id, in file order; invalid ones are empty, to recognise their annotations.

    A height or width that is missing is 0.
    """
    rows: dict[int, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        with file.errors:
            key = _integer(entry, "id", f"{file.path}: images[{number}]", file)
            if key not in rows:
                rows[key] = {}
                rows[key] = _image(key, entry, f"{file.path}: image id {key}", file)
            elif _image(key, entry, f"{file.path}: image id {key}", file) == rows[key]:
                file.remarks.add(REPEATED_IMAGES, f"{file.path}: images[{number}]: image id {key}")
            else:
                raise DataError(
                    f"{file.path}: image id {key} appears twice "
                    f"({rows[key].get('file_name')}, {entry.get('file_name')}). Give every image its own id, or remove "
                    "one of the entries.",
                    kind="duplicate image ids",
                )
    return rows


def _image(key: int, entry: dict[str, Any], where: str, file: CocoFile) -> dict[str, Any]:
    if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
        raise DataError(f"{where} has no file_name", kind="malformed entries")
    row = {"id": key, "file_name": entry["file_name"]}
    for side in ("height", "width"):
        row[side] = _integer(entry, side, where, file) if entry.get(side) is not None else 0
        if not 0 <= row[side] <= LARGEST_SIDE:
            raise without_size(where, side, row[side])
    return row


def without_size(where: str, side: str, given: int, end: str = "") -> DataError:
    """Return the error about an image whose height or width is missing or impossible."""
    return DataError(
        f"{where}: {side} must be the {side} of the image in px; got {given}{end}", kind="images without a size"
    )


def read_annotations(
    entries: list[Any], rows: dict[int, dict[str, Any]], names: dict[int, str], file: CocoFile
) -> dict[int, list[dict[str, Any]]]:
    """Return the checked annotations by image id."""
    by_image: dict[int, list[dict[str, Any]]] = {key: [] for key in rows}
    for number, entry in enumerate(entries):
        has_id = isinstance(entry, dict) and "id" in entry
        where = f"{file.path}: " + (f"annotation id {entry['id']}" if has_id else f"annotations[{number}]")
        with file.errors:
            annotation = _annotation(entry, number, rows, names, where, file)
            by_image[annotation["image_id"]].append(annotation)
    return by_image


def _annotation(
    entry: Any, number: int, rows: dict[int, dict[str, Any]], names: dict[int, str], where: str, file: CocoFile
) -> dict[str, Any]:
    image, category = _integer(entry, "image_id", where, file), _integer(entry, "category_id", where, file)
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
    box = _box(entry, f"{where} ({rows[image].get('file_name')})", file)
    return {
        # New ids, because pycocotools takes an id of 0 for "no match". Messages use the old ones.
        "id": number + 1, "image_id": image, "category_id": category, "bbox": box, "area": _area(entry, where, file),
        "iscrowd": int(_flag(entry, "iscrowd", where, file)), "source_id": entry.get("id", number),
        **({"ignore": 1} if _flag(entry, "ignore", where, file) else {}),
    }  # fmt: skip


def _box(entry: dict[str, Any], where: str, file: CocoFile) -> list[float]:
    given = entry.get("bbox")
    sides = [as_number(side) for side in given] if isinstance(given, list) else []
    box = [float(side) for side in sides if side is not None]
    if len(box) != 4 or len(sides) != 4:
        raise DataError(f"{where}: bbox must be [x, y, width, height] in px; got {given!r}", kind="malformed boxes")
    if not all(map(math.isfinite, box)):
        raise DataError(
            f"{where}: bbox {given} contains NaN or infinity. Correct or remove the annotation.",
            kind="boxes with NaN or infinity",
        )
    if box[2] < 0 or box[3] < 0:
        raise DataError(
            f"{where}: bbox {given} has a negative width or height; bbox is [x, y, width, height], not corners",
            kind="boxes of negative size",
        )
    if isinstance(given, list) and str in map(type, given):
        file.remarks.add(NUMBERS_AS_TEXT, f"{where}: bbox {given}")
    return box


def _area(entry: dict[str, Any], where: str, file: CocoFile) -> int | float | None:
    given = entry.get("area")
    area = as_number(given)
    if given is not None and (area is None or not math.isfinite(area)):
        raise DataError(f"{where}: area must be a number of square px; got {given!r}", kind="invalid areas")
    if isinstance(given, str):
        file.remarks.add(NUMBERS_AS_TEXT, f"{where}: area {given!r}")
    return area


def _integer(entry: Any, key: str, where: str, file: CocoFile) -> int:
    given = entry.get(key) if isinstance(entry, dict) else None
    value = as_integer(given)
    if value is None:
        raise DataError(f"{where}: {key} must be an integer; got {given!r}", kind="malformed entries")
    if isinstance(given, str):
        file.remarks.add(NUMBERS_AS_TEXT, f"{where}: {key} {given!r}")
    return value


def _flag(entry: dict[str, Any], key: str, where: str, file: CocoFile) -> bool:
    given = entry.get(key)
    value = as_flag(given)
    if value is None:
        raise DataError(f"{where}: {key} must be 0 or 1; got {given!r}", kind="malformed flags")
    if isinstance(given, str):
        file.remarks.add(FLAGS_AS_TEXT, f"{where}: {key} {given!r}")
    return value
