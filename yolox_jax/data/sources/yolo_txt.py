"""Reads datasets in YOLO layout: a data.yaml, and a text file of boxes for each image."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.header import image_sizes
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler
from yolox_jax.data.sources.ground_truth import ground_truth_of
from yolox_jax.data.sources.remarks import RemarkKind
from yolox_jax.data.sources.yolo_keypoints import find_keypoints
from yolox_jax.data.sources.yolo_labels import find_labels
from yolox_jax.data.sources.yolo_yaml import Layout, read_layout
from yolox_jax.text import counted

ROUNDING = 0.01
"""A coordinate outside 0..1 by at most this is clipped: it is rounding, or an object at the border."""

UNLABELLED = RemarkKind(
    "images without a label file",
    "note",
    "They count as background. If they have objects, put their label files where the last folder images of the path "
    "is replaced by labels.",
)
POSSIBLE_KEYPOINTS = RemarkKind(
    "labels that may be keypoints",
    "warning",
    "They are read as polygons. If they are keypoints, add kpt_shape: [number of keypoints, 2] to the data.yaml. If "
    "not, add kpt_shape: null.",
)

_LINE = "A line holds class, centre x, centre y, width, height, as fractions of the image"


def read_yolo(
    data_yaml: Path,
    split: str,
    root: Path | None = None,
    *,
    setting: str = "--data",
    errors: ErrorHandler = RAISE_AT_FIRST,
) -> Dataset:
    """Read one split of a YOLO dataset.

    The label file of an image has its path with the last folder `images` replaced by `labels`; without such a folder,
    it is next to the image. Each line holds a class and a box, or a class and a polygon of at least three points, which
    is replaced by its bounding box. An image without a label file, or with an empty one, is background. Category ids
    are the class ids of the files, from 0. Boxes are clipped to their image; boxes without area are ignored.

    Labels do not contain the size of images, so it is read from the image files. An unreadable image is kept without
    boxes, so that loading reports it as `data.broken_images` says.

    Args:
        data_yaml: names the classes and the images of each split. Its paths are relative to its key `path`, which is
            relative to the folder of the file.
        split: a key of the file, such as `train`.
        root: folder that its paths are relative to instead.
        setting: prefix of the settings named in errors, such as `--data.train`.
        errors: what to do about invalid entries.

    Raises:
        ConfigError: a split or a path does not exist.
        DataError: a line is invalid, or image files are missing; the message names them.
    """
    layout = read_layout(data_yaml, split, root, setting, errors)
    sizes = image_sizes(layout.images)
    labels = find_labels(layout.images, layout.remarks)
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(_content, labels))
    layout = _with_keypoints(layout, zip(labels, contents, strict=True), data_yaml, errors)
    cleaner = BoxCleaner(errors)
    classes = {label: index for index, label in enumerate(layout.names)}
    records = tuple(
        _record(image, number, size, label, _objects(content or b"", label, layout, errors), classes, cleaner)
        for number, (image, size, label, content) in enumerate(
            zip(layout.images, sizes, labels, contents, strict=True), start=1
        )
    )
    for image, label, content in zip(layout.images, labels, contents, strict=True):
        if content is None:
            layout.remarks.add(UNLABELLED, f"{image}: the file {label} does not exist")
    unlabelled = [label for label, content in zip(labels, contents, strict=True) if content is None]
    unreadable = [image for image, size in zip(layout.images, sizes, strict=True) if size is None]
    return Dataset(
        name=f"{data_yaml.absolute().parent.name}/{split}",
        class_names=tuple(layout.names.values()),
        category_ids=tuple(layout.names),
        records=records,
        ground_truth=ground_truth_of(records, layout.names),
        warnings=(*layout.remarks.warnings(), *_gaps(len(records), unlabelled, unreadable), *cleaner.warnings()),
    )


def _with_keypoints(
    layout: Layout, files: Iterable[tuple[Path, bytes | DataError | None]], data_yaml: Path, errors: ErrorHandler
) -> Layout:
    """Decide whether labels hold keypoints, where the data.yaml does not say so."""
    if layout.keypoints is not None:
        return layout
    found = find_keypoints((path, content) for path, content in files if isinstance(content, bytes))
    if found is None:
        return layout
    points = counted(found.shape[0], "keypoint")
    text = f"{found.where}, and all lines like it, hold {found.num_numbers} numbers: a class, a box and {points}"
    if not found.certain:
        layout.remarks.add(POSSIBLE_KEYPOINTS, text)
        return layout
    with errors:
        raise DataError(
            f"{text}, but {data_yaml} has no kpt_shape. Add kpt_shape: {list(found.shape)} to it, and the boxes are "
            "used. If the numbers are polygons, add kpt_shape: null",
            kind="keypoints without kpt_shape",
        )
    return layout._replace(keypoints=True)  # reached only if errors are collected


def _content(path: Path) -> bytes | DataError | None:
    """Return the content of a label file, None if it does not exist, or the error if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return DataError(f"{path} cannot be read ({error.strerror})", kind="labels that cannot be read")


def _gaps(num_images: int, unlabelled: list[Path], unreadable: list[Path]) -> list[str]:
    warnings = []
    if len(unlabelled) == num_images:
        none = "the only image has no" if num_images == 1 else f"NONE of the {num_images} images has a"
        warnings.append(f"{none} label file, so there are no objects; the first file would be {unlabelled[0]}")
    elif unlabelled:
        some = "image has no label file and counts" if len(unlabelled) == 1 else "images have no label file and count"
        warnings.append(f"{len(unlabelled)} {some} as background (first: {unlabelled[0]})")
    if unreadable:
        images = counted(len(unreadable), "image")
        warnings.append(f"ignored the boxes of {images} that cannot be read (first: {unreadable[0]})")
    return warnings


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
            raise DataError(f"{path} is not a text file: {error}", kind="malformed labels") from error
    objects = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            with errors:
                objects.append((number, *_object(line, layout, f"{path}, line {number}")))
    return objects


def _object(line: str, layout: Layout, where: str) -> tuple[int, list[float]]:
    """Return the class, and x1, y1, x2, y2 as fractions of the image."""
    label, coordinates = _numbers(line, bool(layout.keypoints), where)
    if not label.is_integer():
        raise DataError(f"{where}: class must be an integer; got {label:g}. {_LINE}", kind="malformed labels")
    if label not in layout.names:
        known = ", ".join(map(str, list(layout.names)[:10])) + (", ..." if len(layout.names) > 10 else "")
        raise DataError(
            f"{where}: unknown class {label:.0f}; names in the data.yaml has {known}. Classes count from 0. "
            "Correct the line, or add the name",
            kind="unknown category ids",
        )
    return int(label), _corners(coordinates, where)


def _numbers(line: str, keypoints: bool, where: str) -> tuple[float, list[float]]:
    """Return the class of a line, and the coordinates of its box or polygon."""
    try:
        label, *coordinates = (float(word) for word in line.split())
    except ValueError:
        raise DataError(f"{where} is {line[:60]!r}. {_LINE}", kind="malformed labels") from None
    if not all(map(math.isfinite, (label, *coordinates))):
        raise DataError(
            f"{where} is {line[:60]!r}, which contains NaN or infinity. Correct or remove it",
            kind="boxes with NaN or infinity",
        )
    if keypoints:
        coordinates = coordinates[:4]
    if len(coordinates) == 4 or (len(coordinates) >= 6 and len(coordinates) % 2 == 0):
        return label, coordinates
    hint = "; remove the score at the end" if len(coordinates) == 5 else ""
    raise DataError(
        f"{where} holds {counted(len(coordinates) + 1, 'number')}{hint}. {_LINE}, or class and x, y of at least three "
        "points",
        kind="malformed labels",
    )


def _corners(coordinates: list[float], where: str) -> list[float]:
    """Return x1, y1, x2, y2 of a box or polygon, as fractions."""
    if len(coordinates) == 4 and min(coordinates[2:]) < 0:
        raise DataError(
            f"{where}: box {coordinates} has a negative width or height. A box is centre x, centre y, width, height",
            kind="boxes of negative size",
        )
    if max(coordinates) > 1 + ROUNDING:
        raise DataError(
            f"{where}: {max(coordinates):g} is above 1. Coordinates are fractions of the image. If these are px, "
            "divide x and width by the image width, y and height by the image height",
            kind="coordinates that are not fractions",
        )
    if min(coordinates) < -ROUNDING:
        raise DataError(
            f"{where}: {min(coordinates):g} is below 0. Coordinates are fractions of the image, from 0 to 1",
            kind="coordinates that are not fractions",
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
