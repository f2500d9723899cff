"""An index of a split of TensorFlow Datasets: image sizes and objects, from one pass; kept in the user's cache."""

import hashlib
import logging
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

from yolox_jax.data.dataset import DataError
from yolox_jax.data.header import read_header
from yolox_jax.data.image import BrokenImage, decode_image
from yolox_jax.data.sources.tfds_files import describe_files, example_parser, stored_examples
from yolox_jax.files import atomic_write, user_cache

VERSION = 1
"""Version of the content of an index; an index of another version is created again."""
CHUNK = 64
"""Examples read at once."""
FIRST_REPORT_S, NEXT_REPORT_S = 3.0, 15.0
"""Seconds until a pass first reports its progress, and between further reports."""

logger = logging.getLogger("yolox_jax.data")


class Index(NamedTuple):
    """N images and their M objects, image by image, as stored."""

    names: np.ndarray
    """Text [N]: file name, id or position."""
    image_ids: Int64[np.ndarray, " N"]
    """Unique."""
    heights: Int32[np.ndarray, " N"]
    """As stored, in px; 0 where the image cannot be read."""
    widths: Int32[np.ndarray, " N"]
    orientations: Int8[np.ndarray, " N"]
    """EXIF orientation that OpenCV applies; 1 means no rotation."""
    counts: Int32[np.ndarray, " N"]
    """Number of objects in each image."""
    boxes: Float32[np.ndarray, "M 4"]
    """ymin, xmin, ymax, xmax as fractions of the image as stored."""
    labels: Int32[np.ndarray, " M"]
    areas: Float64[np.ndarray, " M"]
    """In square px; 0 where the dataset has none."""
    crowds: Bool[np.ndarray, " M"]
    difficult: Bool[np.ndarray, " M"]


def read_index(builder: Any, split: str) -> Index:
    """Return the index of a split, from the user's cache if the data files have not changed since.

    Args:
        builder: of the dataset, from `open_builder`.
        split: such as `train` or `validation[:10%]`.

    Raises:
        DataError: the data files cannot be read.
    """
    name = f"{builder.info.full_name}-{split}"
    place = hashlib.sha256(f"{Path(builder.data_dir).resolve()} {split}".encode(errors="surrogatepass")).hexdigest()[:8]
    path = user_cache() / "tfds" / f"{re.sub(r'[^A-Za-z0-9._]+', '-', name)}-{place}.npz"
    source = f"{VERSION} {describe_files(builder, split)}"
    index = _load(path, source)
    if index is None:
        index = _scan(builder, split)
        _keep(path, source, index)
    return index


def _load(path: Path, source: str) -> Index | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if str(content["source"]) == source:
                return Index(*(content[field] for field in Index._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # no index, or an incomplete one
    return None


def _keep(path: Path, source: str, index: Index) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            np.savez(temporary, source=np.array(source), **index._asdict())
    except OSError as error:
        logger.warning("%s cannot be written (%s): the sizes of images are read again each time", path, error)


class _Example(NamedTuple):
    """The entry of one image in an index."""

    name: str
    image_id: Any
    size: tuple[int, int, int]
    """Height, width, orientation."""
    boxes: Float32[np.ndarray, "K 4"]
    labels: Int32[np.ndarray, " K"]
    areas: Float64[np.ndarray, " K"]
    crowds: Bool[np.ndarray, " K"]
    difficult: Bool[np.ndarray, " K"]


def _scan(builder: Any, split: str) -> Index:
    """Read all examples of a split."""
    examples = [_describe(content, position) for position, content in enumerate(_parsed(builder, split))]
    ids = [example.image_id for example in examples]
    if not all(isinstance(number, int) for number in ids) or len(set(ids)) < len(ids):
        ids = list(range(1, len(ids) + 1))
    sizes = np.array([example.size for example in examples], np.int32).reshape(-1, 3)
    return Index(
        names=np.array([example.name for example in examples], np.str_),
        image_ids=np.array(ids, np.int64),
        heights=sizes[:, 0],
        widths=sizes[:, 1],
        orientations=sizes[:, 2].astype(np.int8),
        counts=np.array([len(example.labels) for example in examples], np.int32),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(example.boxes for example in examples)]),
        labels=np.concatenate([np.zeros(0, np.int32), *(example.labels for example in examples)]),
        areas=np.concatenate([np.zeros(0), *(example.areas for example in examples)]),
        crowds=np.concatenate([np.zeros(0, bool), *(example.crowds for example in examples)]),
        difficult=np.concatenate([np.zeros(0, bool), *(example.difficult for example in examples)]),
    )


def _parsed(builder: Any, split: str) -> Iterator[Mapping[str, Any]]:
    """Yield every example of a split, in order, and report progress."""
    name, count = f"{builder.info.full_name}, split {split}", builder.info.splits[split].num_examples
    parse = example_parser(
        builder, ["image", "image/filename", "image/id"], ["bbox", "label", "area", "is_crowd", "is_difficult"]
    )
    stored: Any = stored_examples(builder, split) if count else []
    next_report = time.monotonic() + FIRST_REPORT_S
    for first in range(0, count, CHUNK):
        chunk = list(range(first, min(first + CHUNK, count)))
        try:
            contents = [parse(example) for example in stored.__getitems__(chunk)]
        except Exception as error:  # the library raises RuntimeError, and what its parsers raise
            raise DataError(
                f"{name}: examples {first} to {chunk[-1]} in {builder.data_dir} cannot be read: {error}. Copy or "
                "prepare the dataset again."
            ) from error
        yield from contents
        if time.monotonic() > next_report:
            next_report = time.monotonic() + NEXT_REPORT_S
            # A warning, because the log of a run is not open yet, and lower levels are not shown without it.
            logger.warning("%s: read the sizes of %d of %d images; later runs reuse them", name, chunk[-1] + 1, count)


def _describe(content: Mapping[str, Any], position: int) -> _Example:
    objects, count = content["objects"], len(content["objects"]["label"])
    name, image_id = content.get("image/filename"), content.get("image/id")
    name = name or (f"{position:08d}" if image_id is None else image_id)
    return _Example(
        name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        image_id=image_id,
        size=_size(content["image"]),
        boxes=np.array(objects["bbox"], np.float32).reshape(count, 4),
        labels=np.array(objects["label"], np.int32),
        areas=np.array(objects.get("area", np.zeros(count)), np.float64),
        crowds=np.array(objects.get("is_crowd", np.zeros(count)), bool),
        difficult=np.array(objects.get("is_difficult", np.zeros(count)), bool),
    )


def _size(content: bytes) -> tuple[int, int, int]:
    """Return the height and width of an encoded image as stored, and the EXIF orientation that OpenCV applies."""
    header = read_header(content)
    if header is not None:
        return header
    try:
        height, width = decode_image(content, Path("image")).shape[:2]
    except BrokenImage:
        return 0, 0, 1
    return height, width, 1
