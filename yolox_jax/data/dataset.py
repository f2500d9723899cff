"""What a data set is, whatever its format, and the checks that all formats share."""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

MOST_NAMES = 10
"""Class names that a message lists."""

CLIP_TOLERANCE_PX = 0.05
"""A box that reaches over the border by less is rounding, and is not reported (COCO writes two decimals)."""


NO_AREA, OUTSIDE, PARTLY_OUTSIDE = "boxes without area", "boxes outside their image", "boxes partly outside their image"
"""Kinds of boxes that are mended by every reader."""


class DataError(ValueError):
    """Annotations that cannot be trained on or scored against; the message names the file, the entry and a way out."""

    def __init__(self, message: str, *, kind: str = "unsound annotations", each: Sequence[str] = ()) -> None:
        """Say what is wrong.

        Args:
            message: for the user.
            kind: what is wrong in a few words, the same for all faults of its kind.
            each: a message for each entry concerned, where `message` sums up several.
        """
        super().__init__(message)
        self.kind = kind
        self.each = tuple(each) or (message,)


@dataclasses.dataclass(frozen=True)
class Mended:
    """An entry that reading put right or left out."""

    kind: str
    """What was wrong in a few words, the same for all of its kind."""
    where: str
    path: Path
    """The image."""
    box_xyxy: tuple[float, float, float, float]
    """As annotated, in px."""


@dataclasses.dataclass(eq=False)
class Faults:
    """What a reader does about unsound entries: it reads each inside `with faults:`.

    The first DataError ends the reading, unless all faults are wanted: then the entry is left out, and the next one is
    read.
    """

    keep_all: bool = False
    errors: list[DataError] = dataclasses.field(default_factory=list)
    """All that was unsound, where all faults are wanted."""
    mended: list[Mended] = dataclasses.field(default_factory=list)
    """All that was mended, where all faults are wanted."""

    def __enter__(self) -> "Faults":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self.keep_all or not isinstance(error, DataError):
            return False
        self.errors.append(error.with_traceback(None))  # which would keep all that the reader holds
        return True

    def mend(self, kind: str, where: str, path: Path, box_xyxy: Sequence[float]) -> None:
        """Note what was mended; arguments as the fields of `Mended`."""
        if self.keep_all:
            x1, y1, x2, y2 = map(float, box_xyxy)
            self.mended.append(Mended(kind, where, path, (x1, y1, x2, y2)))


STOP_AT_FIRST = Faults()
"""For readers that are to raise; it remembers nothing."""


@runtime_checkable
class Archive(Protocol):
    """Holds encoded images that are no files of their own; can be sent to another process.

    Its `repr` differs with what its files hold, so that a cache of its images is not used for others.
    """

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

    faults: Faults = STOP_AT_FIRST
    clipped: int = 0
    dropped: int = 0
    first_clipped: str = ""
    first_dropped: str = ""

    def clean(
        self, boxes_xyxy: Float64[np.ndarray, "N 4"], height: int, width: int, where: list[str], path: Path
    ) -> tuple[Float64[np.ndarray, "N 4"], Bool[np.ndarray, " N"]]:
        """Clip boxes to their image, `path`, and find those that have an area left; `where` names each box."""
        limit = np.array([width, height, width, height], np.float64)
        clipped = np.clip(boxes_xyxy, 0.0, limit)
        over = (np.abs(clipped - boxes_xyxy) > CLIP_TOLERANCE_PX).any(axis=1)
        # As they will be kept: in float32, a box may lose what area it has.
        single = clipped.astype(np.float32)
        keep = (single[:, 2] > single[:, 0]) & (single[:, 3] > single[:, 1])
        self._count(over, ~keep, where)
        for index in np.flatnonzero(over | ~keep).tolist():
            box = boxes_xyxy[index]
            kind = PARTLY_OUTSIDE if keep[index] else OUTSIDE if (box[2:] > box[:2]).all() else NO_AREA
            self.faults.mend(kind, where[index], path, box.tolist())
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


def check_same_classes(train_set: Dataset, val_set: Dataset) -> None:
    """Fail if what is trained and what is evaluated differ in their classes or the order of these.

    Raises:
        DataError: with both lists.
    """
    if train_set.class_names != val_set.class_names:
        train, val = Counter(train_set.class_names), Counter(val_set.class_names)
        parts = [
            f"only {where} has {', '.join(names[:MOST_NAMES])}" + " and more" * (len(names) > MOST_NAMES)
            for where, names in (("train", list(train - val)), ("val", list(val - train)))
            if names
        ]
        difference = "; ".join(parts) or "they are in another order"
        raise DataError(
            f"--data.train and --data.val differ in their classes: {difference}. Name the classes that are "
            "wanted with --data.classes, or give both the same list of categories",
            kind="different class lists",
        )


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
        f"{', ...' if len(missing) > 3 else ''}. Check {setting}, or take these entries out of the annotations.",
        kind="missing image files",
        each=[f"{listed_in}: {named[path]}: there is no file {path}; check {setting}" for path in missing],
    )


def _file_names(folder: Path) -> set[str]:
    try:
        if not folder.is_dir():
            return set()
    except OSError:  # a name that is too long for the file system
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}
