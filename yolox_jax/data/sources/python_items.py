"""Makes datasets of images, boxes and classes that Python code provides."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolox_jax.data.dataset import DataError, Dataset, Record, with_pixel_format
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.data.python_values import checked_image, checked_objects
from yolox_jax.data.sources.ground_truth import ground_truth_of


@dataclasses.dataclass(frozen=True, eq=False)
class ItemArchive:
    """The images of items that are arrays. They are asked for again whenever an image is loaded."""

    items: Any
    name: str
    digest: str
    """Of all images."""

    def read(self, position: int) -> bytes:
        """Return the image of an item as a .npy file, which takes no time to write and loses nothing.

        Raises:
            DataError: the item cannot be read or is no image.
        """
        where = f"{self.name}[{position}]"
        file = io.BytesIO()
        np.save(file, checked_image(_item(self.items, position, where).image, where))
        return file.getvalue()

    def __repr__(self) -> str:
        return f"ItemArchive({self.digest})"  # changes with the images, for caches


class _Item(NamedTuple):
    image: Any
    boxes: Any
    classes: Any


class _Row(NamedTuple):
    """What is kept of an item while its image is not."""

    path: Path | None
    """Of a file."""
    size: tuple[int, int] | None
    """Of an array, as the next."""
    pixels: PixelFormat | None
    boxes: Any
    classes: Any


def make_dataset(items: Any, class_names: Sequence[str], *, name: str = "items") -> Dataset:
    """Make a dataset for `yolox_jax.train` and `yolox_jax.evaluate` from Python objects.

    >>> import numpy as np
    >>> image = np.zeros((48, 64, 3), np.uint8)
    >>> dataset = make_dataset([(image, [[8, 8, 32, 40]], [1]), (image, [], [])], ["cat", "dog"])
    >>> len(dataset.records), dataset.records[0].classes
    (2, array([1], dtype=int32))

    Args:
        items: a list, or any object with `__len__` and `__getitem__`. Each item is (image, boxes, classes): the path of
            an image file, or a uint8 array [H, W, 3] in BGR order; boxes [N, 4] as x1, y1, x2, y2 in px; classes [N] as
            indices into `class_names`. Without objects, both are empty. All items are read once here. Arrays are not
            kept but read again whenever they are needed, from several threads or processes, so `items[i]` must
            always be the same. For `data.channels` or `data.bits` other than 3 and 8, pass arrays of that format.
        class_names: the names of the classes.
        name: of the dataset, for messages.

    Raises:
        DataError: something is not of this form, or an image file cannot be read; the message has the index.
    """
    names = _checked_names(class_names, name)
    for method in ("__len__", "__getitem__"):
        if not hasattr(items, method):
            raise DataError(
                f"{name}: a {type(items).__name__} has no {method}. Pass a list of (image, boxes, classes), or an "
                "object with __len__ and __getitem__",
                kind="invalid items",
            )
    digest = hashlib.blake2b(digest_size=4)
    rows: list[_Row] = []
    pixels: PixelFormat | None = None
    for index in range(len(items)):
        rows.append(_read(items, index, f"{name}[{index}]", pixels, digest))
        pixels = pixels or rows[-1].pixels
    from yolox_jax.data.header import image_sizes  # imports OpenCV

    sizes_of_files = iter(image_sizes(row.path for row in rows if row.path is not None))
    archive = ItemArchive(items, name, digest.hexdigest())
    records = []
    for index, row in enumerate(rows):
        where, size = f"{name}[{index}]", row.size or next(sizes_of_files)
        if size is None:
            raise DataError(f"{where}: {row.path} is no image that can be read. Leave it out", kind="invalid images")
        boxes, classes = checked_objects(row.boxes, row.classes, size, len(names), where)
        if row.path is not None:
            records.append(Record(row.path, index, *size, boxes, classes))
        else:  # the digest tells items of the same name apart, such as those of training and validation
            path = Path(archive.digest, where)
            records.append(Record(path, index, *size, boxes, classes, archive, index))
    categories = dict(enumerate(names))
    dataset = Dataset(name, names, tuple(categories), tuple(records), ground_truth_of(records, categories), ())
    return with_pixel_format(dataset, pixels or BGR8)


def _checked_names(class_names: Sequence[str], name: str) -> tuple[str, ...]:
    names = () if isinstance(class_names, str) else tuple(class_names)
    if not names or not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
        raise DataError(
            f"{name}: class_names must be a list of different names, such as ['cat', 'dog'], got {class_names!r}",
            kind="invalid class names",
        )
    return names


def _item(items: Any, index: int, where: str) -> _Item:
    try:
        item = items[index]
    except Exception as error:
        raise DataError(f"{where} raised {type(error).__name__}: {error}", kind="invalid items") from error
    if not isinstance(item, tuple | list) or len(item) != 3:
        got = f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
        raise DataError(f"{where} must be (image or path, boxes, classes), got {got}", kind="invalid items")
    return _Item(*item)


def _read(items: Any, index: int, where: str, pixels: PixelFormat | None, digest: Any) -> _Row:
    """Read an item; `pixels` is the format of the arrays before it."""
    image, boxes, classes = _item(items, index, where)
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.is_file():
            raise DataError(f"{where}: the file {path} does not exist", kind="missing image files")
        return _Row(path, None, None, boxes, classes)
    image = checked_image(image, where, pixels)
    digest.update(image.tobytes())
    return _Row(None, image.shape[:2], PixelFormat.of(image), boxes, classes)
