"""What a data set is, whatever its format, and the checks that all formats share."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

CLIP_TOLERANCE_PX = 0.05
"""A box that reaches over the border by less is rounding, and is not reported (COCO writes two decimals)."""


class DataError(ValueError):
    """Annotations that cannot be trained on or scored against; the message names the file, the entry and a way out."""


@runtime_checkable
class Archive(Protocol):
    """Holds encoded images that are no files of their own; can be sent to another process."""

    def read(self, position: int) -> bytes:
        """The encoded image at `position`.

        Raises:
            OSError: it cannot be read.
        """


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and its objects, crowds left out."""

    path: Path
    """The file; of an image in an archive, a name for it."""
    image_id: int
    height: int
    width: int
    boxes: Float32[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px of the image as read, clipped to it."""
    classes: Int32[np.ndarray, " N"]
    """Index into `Dataset.class_names`."""
    archive: Archive | None = None
    """What the image lies in, where it is no file of its own."""
    position: int = 0
    """Its place in the archive."""

    def encoded(self) -> bytes:
        """The image as stored.

        Raises:
            OSError: it cannot be read.
        """
        return self.path.read_bytes() if self.archive is None else self.archive.read(self.position)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The images of one split and what to score detections against."""

    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    """Category id in `ground_truth` of each class."""
    records: tuple[Record, ...]
    ground_truth: dict[str, Any]
    """The annotations in COCO layout, crowds among them, as pycocotools reads them."""
    warnings: tuple[str, ...]
    """What was mended while reading, one sentence each."""


@dataclasses.dataclass
class BoxTally:
    """Counts the boxes that were mended, and remembers the first of each kind."""

    clipped: int = 0
    dropped: int = 0
    first_clipped: str = ""
    first_dropped: str = ""

    def clean(
        self, boxes_xyxy: Float64[np.ndarray, "N 4"], height: int, width: int, where: list[str]
    ) -> tuple[Float64[np.ndarray, "N 4"], Bool[np.ndarray, " N"]]:
        """Clip boxes to their image and find those that have an area left; `where` names each box."""
        limit = np.array([width, height, width, height], np.float64)
        clipped = np.clip(boxes_xyxy, 0.0, limit)
        over = (np.abs(clipped - boxes_xyxy) > CLIP_TOLERANCE_PX).any(axis=1)
        keep = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        self._count(over, ~keep, where)
        return clipped, keep

    def _count(self, over: Bool[np.ndarray, " N"], empty: Bool[np.ndarray, " N"], where: list[str]) -> None:
        if over.any():
            self.first_clipped = self.first_clipped or where[int(over.argmax())]
            self.clipped += int(over.sum())
        if empty.any():
            self.first_dropped = self.first_dropped or where[int(empty.argmax())]
            self.dropped += int(empty.sum())

    def warnings(self) -> tuple[str, ...]:
        """One sentence for each kind of mending that happened."""
        found = []
        if self.clipped:
            found.append(
                f"boxes that reach over their image, clipped to it: {self.clipped} (first: {self.first_clipped})"
            )
        if self.dropped:
            found.append(f"boxes without area in their image, left out: {self.dropped} (first: {self.first_dropped})")
        return tuple(found)


def fingerprint(dataset: Dataset) -> str:
    """What differs with the classes, images and boxes of a data set, but not with where it lies."""
    digest = hashlib.sha256(repr(dataset.class_names).encode())
    for record in dataset.records:
        digest.update(f"{record.path.name} {record.height} {record.width}".encode())
        digest.update(record.boxes.tobytes())
        digest.update(record.classes.tobytes())
    return f"{len(dataset.records)} images, {digest.hexdigest()[:12]}"


def num_records_above(dataset: Dataset, max_boxes: int) -> int:
    """Number of images with more objects than the slots for them: the last objects of each are not trained on.

    A mosaic joins the objects of several images, so that it can overflow where none of them does.
    """
    return sum(len(record.boxes) > max_boxes for record in dataset.records)


def check_images_exist(named: Mapping[Path, str], listed_in: str, setting: str) -> None:
    """Fail before work starts if image files are missing.

    Folders are listed once each, which takes a second where asking for 100,000 files one by one takes many.

    Args:
        named: each image file, and the entry of the annotations that names it.
        listed_in: the file or folder that holds those entries.
        setting: the setting that says where images lie, for the message.

    Raises:
        DataError: naming the first missing files.
    """
    present = {folder: _file_names(folder) for folder in {path.parent for path in named}}
    missing = [path for path in named if path.name not in present[path.parent]]
    if not missing:
        return
    first = ", ".join(f"{path} ({named[path]})" for path in missing[:3])
    raise DataError(
        f"{listed_in} names {len(missing)} of {len(named)} image files that do not exist: {first}"
        f"{', ...' if len(missing) > 3 else ''}. Check {setting}, or take these entries out of the annotations."
    )


def _file_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}
