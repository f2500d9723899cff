"""Reads data sets in YOLO layout: a data.yaml, and beside each image a text file of boxes."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.header import image_sizes
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler
from yolox_jax.data.sources.ground_truth import ground_truth_of
from yolox_jax.data.sources.yolo_yaml import Layout, read_layout

ROUNDING = 0.01
"""A coordinate this far outside 0..1 is taken for rounding or an object over the border, and clipped."""

_LINE = "A line is: class, centre x, centre y, width, height, as fractions of the image"


def read_yolo(
    data_yaml: Path,
    split: str,
    root: Path | None = None,
    *,
    setting: str = "--data",
    errors: ErrorHandler = RAISE_AT_FIRST,
) -> Dataset:
    """Read one split of a YOLO data set.

    The labels of an image lie at its path with the last folder `images` replaced by `labels`, or beside it if there is
    none. Each line is a class and a box, or a polygon of three points or more, which its bounding box stands for. An
    image without a label file, or with an empty one, is background. Category ids are the class ids of the files, from
    0. Boxes are clipped to their image, and those without an area left out.

    Labels do not tell the size of images: it is read from the image files. One that cannot be read stays, without its
    boxes, so that it is named when it is loaded and does there as `data.broken_images` says.

    Args:
        data_yaml: names the classes and the images of each split. Its paths start from its key `path`, which starts
            from its own folder.
        split: a key of it, such as `train`.
        root: folder that its paths start from instead.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about unsound entries.

    Raises:
        ConfigError: a split or a path that is not there.
        DataError: naming the file and line that is wrong, or images that are missing.
    """
    layout = read_layout(data_yaml, split, root, setting, errors)
    sizes = image_sizes(layout.images)
    labels = [label_path(image) for image in layout.images]
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(_content, labels))
    cleaner = BoxCleaner(errors)
    classes = {label: index for index, label in enumerate(layout.names)}
    records = tuple(
        _record(image, number, size, label, _objects(content or b"", label, layout, errors), classes, cleaner)
        for number, (image, size, label, content) in enumerate(
            zip(layout.images, sizes, labels, contents, strict=True), start=1
        )
    )
    unlabelled = [label for label, content in zip(labels, contents, strict=True) if content is None]
    unreadable = [image for image, size in zip(layout.images, sizes, strict=True) if size is None]
    return Dataset(
        name=f"{data_yaml.absolute().parent.name}/{split}",
        class_names=tuple(layout.names.values()),
        category_ids=tuple(layout.names),
        records=records,
        ground_truth=ground_truth_of(records, layout.names),
        warnings=(*layout.warnings, *_gaps(len(records), unlabelled, unreadable), *cleaner.warnings()),
    )


def label_path(image: Path) -> Path:
    """Where the labels of an image lie: the last folder `images` becomes `labels`, the ending `.txt`."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[max(place for place, part in enumerate(parts[:-1]) if part == "images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _content(path: Path) -> bytes | DataError | None:
    """What a label file holds; None if there is none, or why it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return DataError(f"{path} cannot be read ({error.strerror})", kind="labels that cannot be read")


def _gaps(num_images: int, unlabelled: list[Path], unreadable: list[Path]) -> list[str]:
    found = []
    if len(unlabelled) == num_images:
        found.append(
            f"NONE of the {num_images} images has a label file, so all are background: for the first, there is no "
            f"{unlabelled[0]}"
        )
    elif unlabelled:
        found.append(
            f"images without a label file, taken as background: {len(unlabelled)} (the first would be {unlabelled[0]})"
        )
    if unreadable:
        found.append(f"images that cannot be read, without their boxes: {len(unreadable)} (first: {unreadable[0]})")
    return found


Object = tuple[int, int, list[float]]
"""Line, class, and x1, y1, x2, y2 as fractions of the image."""


def _objects(content: bytes | DataError, path: Path, layout: Layout, errors: ErrorHandler) -> list[Object]:
    lines: list[str] = []
    with errors:
        if isinstance(content, DataError):
            raise content
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no text: {error}", kind="malformed labels") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            with errors:
                found.append((number, *_object(line, layout, f"{path}, line {number}")))
    return found


def _object(line: str, layout: Layout, where: str) -> tuple[int, list[float]]:
    """Class, and x1, y1, x2, y2 as fractions of the image."""
    label, coordinates = _numbers(line, layout.keypoints, where)
    if not label.is_integer():
        raise DataError(f"{where}: class is {label:g}; it must be a whole number. {_LINE}", kind="malformed labels")
    if label not in layout.names:
        known = ", ".join(map(str, list(layout.names)[:10])) + (", ..." if len(layout.names) > 10 else "")
        raise DataError(
            f"{where}: unknown class {label:.0f}; names in the data.yaml has {known}. Classes count from 0: correct "
            "the line, or add the name",
            kind="unknown category ids",
        )
    return int(label), _corners(coordinates, where)


def _numbers(line: str, keypoints: bool, where: str) -> tuple[float, list[float]]:
    """Class and coordinates of a line: those of a box, or of the points of a polygon."""
    try:
        label, *coordinates = (float(word) for word in line.split())
    except ValueError:
        raise DataError(f"{where} is {line[:60]!r}. {_LINE}", kind="malformed labels") from None
    if not all(map(math.isfinite, (label, *coordinates))):
        raise DataError(
            f"{where} is {line[:60]!r}, with NaN or infinity; correct or remove it", kind="boxes with NaN or infinity"
        )
    if keypoints:
        coordinates = coordinates[:4]
    if len(coordinates) == 4 or (len(coordinates) >= 6 and len(coordinates) % 2 == 0):
        return label, coordinates
    hint = "; remove the score at its end" if len(coordinates) == 5 else ""
    raise DataError(
        f"{where} holds {len(coordinates) + 1} numbers{hint}. {_LINE}, or a class and the x and y of three points or "
        "more",
        kind="malformed labels",
    )


def _corners(coordinates: list[float], where: str) -> list[float]:
    """x1, y1, x2, y2 of a box or polygon, as fractions."""
    if len(coordinates) == 4 and min(coordinates[2:]) < 0:
        raise DataError(
            f"{where}: box {coordinates} has a negative width or height; a box is centre x, centre y, width, height",
            kind="boxes of negative size",
        )
    if max(coordinates) > 1 + ROUNDING:
        raise DataError(
            f"{where}: {max(coordinates):g} is above 1; coordinates are fractions of the image. If these are px, "
            "divide x and width by the width of the image, y and height by its height",
            kind="coordinates that are no fractions",
        )
    if min(coordinates) < -ROUNDING:
        raise DataError(
            f"{where}: {min(coordinates):g} is below 0; coordinates are fractions of the image, from 0 to 1",
            kind="coordinates that are no fractions",
        )
    if len(coordinates) > 4:
        across, down = coordinates[::2], coordinates[1::2]
        return [min(across), min(down), max(across), max(down)]
    x, y, width, height = coordinates
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _record(
    image: Path,
    number: int,
    size: tuple[int, int] | None,
    label: Path,
    objects: Sequence[Object],
    index_of: dict[int, int],
    cleaner: BoxCleaner,
) -> Record:
    if size is None:
        objects, size = [], (1, 1)
    height, width = size
    fractions = np.array([corners for _, _, corners in objects], np.float64).reshape(-1, 4)
    where = [f"{label}, line {line}" for line, _, _ in objects]
    boxes, keep = cleaner.clean(fractions * (width, height, width, height), height, width, where, image)
    classes = np.array([index_of[label_id] for _, label_id, _ in objects], np.int32)
    return Record(image, number, height, width, boxes[keep].astype(np.float32), classes[keep])
