"""What every format is read into: a `Dataset` of `Record`s, one record for each image."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32

from yolox_jax.data.pixel_format import BGR8, PixelFormat

MAX_LISTED_NAMES = 10
"""Class names that a message lists."""


class DataError(ValueError):
    """Annotations that cannot be trained on or evaluated against; the message names the file, the entry and the fix."""

    def __init__(self, message: str, *, kind: str = "invalid annotations", each: Sequence[str] = ()) -> None:
        """Describe what is wrong.

        Args:
            message: for the user.
            kind: the kind of error in a few words, the same for all errors of this kind.
            each: one message for each entry concerned, where `message` sums up several.
        """
        super().__init__(message)
        self.kind = kind
        self.each = tuple(each) or (message,)


@runtime_checkable
class Archive(Protocol):
    """A container of encoded images, such as a record file. It must be picklable.

    Its `repr` must change when the contents of its files change, so that cached images are not mistaken for current
    ones.
    """

    def read(self, position: int) -> bytes:
        """Return the encoded image at `position`.

        Raises:
            OSError: it cannot be read.
        """


class Tile(NamedTuple):
    """The place of a record that shows a part of an image."""

    left: int
    """In px of the image, as the others."""
    top: int
    image_height: int
    image_width: int


@dataclasses.dataclass(frozen=True)
class Record:
    """One image, or a tile of one, and its objects, without crowds."""

    path: Path
    """The image file; for an image in an archive, a name for it."""
    image_id: int
    height: int
    """In px."""
    width: int
    """In px."""
    boxes: Float32[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in pixels of the original image, or from the corner of the tile, clipped to it."""
    classes: Int32[np.ndarray, " N"]
    """Index into `Dataset.class_names`."""
    archive: Archive | None = None
    """The archive that holds the image; None if `path` is an image file."""
    position: int = 0
    """Index of the image in the archive."""
    tile: Tile | None = None
    """The part of the image that this is; None if it is the whole."""
    pixels: PixelFormat = BGR8
    """The format to load the image in, the same throughout a dataset."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px of the whole image."""
        return (self.height, self.width) if self.tile is None else (self.tile.image_height, self.tile.image_width)

    @property
    def image_key(self) -> tuple[Path, int]:
        """What tells the image from all others. The tiles of one image share it."""
        return self.path, self.position

    @property
    def key(self) -> str:
        """Path, and whatever else tells this record from others of the same file or archive."""
        tile = "" if self.tile is None else f" tile {self.tile.left},{self.tile.top} {self.height}x{self.width}"
        return f"{self.path} {self.position}{tile}"

    def encoded(self) -> bytes:
        """Return the image as stored, such as the bytes of a JPEG.

        Raises:
            OSError: it cannot be read.
        """
        return self.path.read_bytes() if self.archive is None else self.archive.read(self.position)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The images of one split, and the ground truth that detections are evaluated against."""

    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    """Category id of each class in `ground_truth`."""
    records: tuple[Record, ...]
    ground_truth: dict[str, Any]
    """The annotations in COCO layout, crowds included, as pycocotools reads them. Their ids are new; `source_id` is the
    id in a COCO file."""
    warnings: tuple[str, ...]
    """One sentence for each kind of repair made while reading."""


def with_pixel_format(dataset: Dataset, pixels: PixelFormat) -> Dataset:
    """Return a dataset whose images are loaded in a format."""
    if all(record.pixels == pixels for record in dataset.records):
        return dataset
    records = tuple(dataclasses.replace(record, pixels=pixels) for record in dataset.records)
    return dataclasses.replace(dataset, records=records)


def fingerprint(dataset: Dataset) -> str:
    """Return a digest of the classes, images and boxes of a dataset. It does not depend on the folder."""
    digest = hashlib.sha256(repr(dataset.class_names).encode())
    for record in dataset.records:
        # File names need not be valid Unicode.
        digest.update(f"{record.path.name} {record.height} {record.width}".encode(errors="surrogatepass"))
        if record.tile is not None:
            digest.update(repr(record.tile).encode())
        digest.update(record.boxes.tobytes())
        digest.update(record.classes.tobytes())
    return f"{len(dataset.records)} images, {digest.hexdigest()[:12]}"


def check_same_classes(train_set: Dataset, val_set: Dataset) -> None:
    """Check that the training and validation sets have the same classes in the same order.

    Raises:
        DataError: they do not; the message says how they differ.
    """
    if train_set.class_names != val_set.class_names:
        train, val = Counter(train_set.class_names), Counter(val_set.class_names)
        parts = [
            f"only {split} has {', '.join(names[:MAX_LISTED_NAMES])}" + " and more" * (len(names) > MAX_LISTED_NAMES)
            for split, names in (("train", list(train - val)), ("val", list(val - train)))
            if names
        ]
        difference = "; ".join(parts) or "their order differs"
        raise DataError(
            f"--data.train and --data.val have different classes: {difference}. Select the classes to use with "
            "--data.classes, or give both datasets the same list of categories.",
            kind="different class lists",
        )
