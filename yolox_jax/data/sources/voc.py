"""Reads datasets in Pascal VOC layout: Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages."""

import collections
import dataclasses
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.sources.checks import RAISE_AT_FIRST, BoxCleaner, ErrorHandler, check_images_exist
from yolox_jax.data.sources.ground_truth import ground_truth_of

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class _Annotation:
    """The content of one XML file."""

    height: int
    width: int
    numbers: list[int]
    """Index of each object in the file."""
    names: list[str]
    boxes_xyxy: list[list[float]]
    difficult: list[bool]


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
    Corner coordinates are used as they are. Boxes are clipped to their image; boxes without area are ignored.

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
                "ImageSets and JPEGImages."
            )
    stems = _read_split(root, split, setting, errors)
    files = {path.stem: path for path in sorted((root / "Annotations").glob("*.xml"))}
    with errors:
        _check_annotated(stems, files, f"{root}/ImageSets/Main/{split}.txt", f"{root}/Annotations")
    annotations = _read_annotations(files, errors)
    stems = [stem for stem in stems if stem in annotations]
    class_names = tuple(sorted({name for annotation in annotations.values() for name in annotation.names}))
    paths = _image_paths(root / "JPEGImages", stems, setting, errors)
    cleaner = BoxCleaner(errors)
    whole = [
        _record(paths[stem], number, annotations[stem], class_names, cleaner)
        for number, stem in enumerate(stems, start=1)
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
        warnings=cleaner.warnings(),
    )


def _read_split(root: Path, split: str, setting: str, errors: ErrorHandler) -> list[str]:
    lists = root / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not path.is_file():
        available = ", ".join(sorted(entry.stem for entry in lists.glob("*.txt"))) or "none"
        raise ConfigError(f"{setting}.split is {split!r}, but {path} does not exist. Available splits: {available}.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file: {error}", kind="invalid list of images") from error
    # The lists of single classes have a second column, which says whether the class is in the image.
    stems = [line.split()[0] for line in lines if line.strip()]
    with errors:
        twice = sorted(stem for stem, count in collections.Counter(stems).items() if count > 1)
        if twice:
            each = [f"{path} lists {stem} more than once. List every image once." for stem in twice]
            raise DataError(each[0], kind="images listed more than once", each=each)
    return list(dict.fromkeys(stems))


def _check_annotated(stems: list[str], files: dict[str, Path], listed_in: str, folder: str) -> None:
    unknown = [stem for stem in stems if stem not in files]
    if unknown:
        raise DataError(
            f"{listed_in} lists {len(unknown)} images that have no annotation file in {folder}: "
            f"{', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}",
            kind="images without annotations",
            each=[f"{listed_in} lists {stem}, but {folder}/{stem}.xml does not exist" for stem in unknown],
        )


def _read_annotations(files: dict[str, Path], errors: ErrorHandler) -> dict[str, _Annotation]:
    annotations = {}
    for stem, path in files.items():
        with errors:
            annotations[stem] = _read_xml(path, errors)
    return annotations


def _read_xml(path: Path, errors: ErrorHandler) -> _Annotation:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # encodings raise the latter two
        raise DataError(f"{path} is not valid XML: {error}. Was it copied completely?", kind="invalid XML") from error
    height, width = (_number(root, f"size/{side}", str(path)) for side in ("height", "width"))
    if height < 1 or width < 1:
        raise DataError(
            f"{path}: the size must be that of the image in px; got {width:g}x{height:g}",
            kind="images without a size",
        )
    annotation = _Annotation(int(height), int(width), [], [], [], [])
    for number, entry in enumerate(root.iter("object")):
        with errors:
            name, box = _read_object(entry, f"{path}: object {number}")
            annotation.numbers.append(number)
            annotation.names.append(name)
            annotation.boxes_xyxy.append(box)
            annotation.difficult.append((entry.findtext("difficult") or "").strip() == "1")
    return annotation


def _read_object(entry: ElementTree.Element, where: str) -> tuple[str, list[float]]:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where} has no name", kind="objects without a name")
    box = [_number(entry, f"bndbox/{corner}", where) for corner in ("xmin", "ymin", "xmax", "ymax")]
    if box[2] < box[0] or box[3] < box[1]:
        raise DataError(
            f"{where} ({name}): box {box} has xmax below xmin or ymax below ymin; correct it",
            kind="boxes of negative size",
        )
    return name, box


def _number(element: ElementTree.Element, tag: str, where: str) -> float:
    text = element.findtext(tag)
    try:
        value = float(text or "")
    except ValueError:
        raise DataError(f"{where}: {tag} must be a number; got {text!r}", kind="malformed numbers") from None
    if not math.isfinite(value):
        raise DataError(f"{where}: {tag} must be finite; got {text}", kind="boxes with NaN or infinity")
    return value


def _image_paths(folder: Path, stems: list[str], setting: str, errors: ErrorHandler) -> dict[str, Path]:
    """Find the image of each XML file by its name; the file name that the XML gives is often wrong."""
    present = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS}
    paths = {stem: present.get(stem, folder / f"{stem}.jpg") for stem in stems}
    with errors:
        check_images_exist({path: f"{stem}.xml" for stem, path in paths.items()}, "ImageSets/Main", f"{setting}.images")
    return paths


def _record(
    path: Path, number: int, annotation: _Annotation, names: tuple[str, ...], cleaner: BoxCleaner
) -> tuple[Record, Bool[np.ndarray, " N"]]:
    """Return the image with all its objects, and which of them are difficult."""
    boxes = np.array(annotation.boxes_xyxy, np.float64).reshape(-1, 4)
    where = [f"object {index} of {path.stem}.xml" for index in annotation.numbers]
    boxes, keep = cleaner.clean(boxes, annotation.height, annotation.width, where, path)
    classes = np.array([names.index(name) for name in annotation.names], np.int32)
    record = Record(path, number, annotation.height, annotation.width, boxes[keep].astype(np.float32), classes[keep])
    return record, np.array(annotation.difficult, bool)[keep]


def _part(record: Record, mask: Bool[np.ndarray, " N"]) -> Record:
    return dataclasses.replace(record, boxes=record.boxes[mask], classes=record.classes[mask])
