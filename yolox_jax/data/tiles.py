"""Cuts large training images into overlapping tiles, which are records of their own (docs/data.md).

No pixel is read and no file written: a tile is cut out of its image whenever that is loaded.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from yolox_jax.config import DataConfig
from yolox_jax.data.dataset import DataError, Dataset, Record, Tile
from yolox_jax.text import counted

ALIGNMENT_PX = 8
"""Tiles start at multiples of this, as far as the image permits: a JPEG is decoded faster at a half, quarter or eighth,
out of which such tiles can be cut."""


class _Piece(NamedTuple):
    """A tile, or an image that is small enough."""

    record: Record
    kept: Bool[np.ndarray, " N"]
    """Which boxes of the image it has."""
    is_empty: bool = False
    """Whether it is a tile in which nothing of any object is visible."""


def cut_into_tiles(dataset: Dataset, config: DataConfig) -> Dataset:
    """Replace each image that is larger than `config.tile` by its tiles.

    A tile has the boxes of which it shows more than `config.augment.min_visible`, clipped to it. Of the tiles in which
    nothing of any object is visible, as many are kept as `config.empty_tiles` says. Those that show only a smaller part
    of objects would teach that objects are background, and are dropped.

    The ground truth remains that of the whole images. Without `config.tile`, the dataset is returned as it is.

    Raises:
        DataError: no tile has a box.
    """
    if not config.tile:
        return dataset
    pieces: list[_Piece] = []
    num_lost = 0
    for record in dataset.records:
        of_image = list(_pieces(record, config))
        num_lost += int((~np.any([piece.kept for piece in of_image], axis=0)).sum())
        pieces += of_image
    with_objects = sum(piece.record.tile is not None and len(piece.record.boxes) > 0 for piece in pieces)
    empty = [place for place, piece in enumerate(pieces) if piece.is_empty]
    background = set(_spread(empty, round(config.empty_tiles * with_objects)))
    records = tuple(
        piece.record
        for place, piece in enumerate(pieces)
        if piece.record.tile is None or len(piece.record.boxes) or place in background
    )
    return _replaced(dataset, records, num_lost, config)


def _pieces(record: Record, config: DataConfig) -> Iterator[_Piece]:
    """The tiles of an image, row by row."""
    if max(record.height, record.width) <= config.tile:
        yield _Piece(record, np.ones(len(record.boxes), bool))
        return
    height, width = min(config.tile, record.height), min(config.tile, record.width)
    sides = record.boxes[:, 2:] - record.boxes[:, :2]
    for top in _starts(record.height, config):
        for left in _starts(record.width, config):
            moved = record.boxes - np.array([left, top] * 2, np.float32)
            boxes = np.clip(moved, 0, np.array([width, height] * 2, np.float32))
            visible = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            kept = visible > config.augment.min_visible * sides.prod(axis=1)
            tile = dataclasses.replace(
                record,
                height=height,
                width=width,
                boxes=boxes[kept],
                classes=record.classes[kept],
                tile=Tile(left, top, record.height, record.width),
            )
            yield _Piece(tile, kept, not visible.any())


def _starts(length: int, config: DataConfig) -> list[int]:
    """Where the tiles start along a side of the image; the last ends with it."""
    if length <= config.tile:
        return [0]
    step = max(int(config.tile * (1 - config.tile_overlap)), 1)
    step = step // ALIGNMENT_PX * ALIGNMENT_PX or step
    return [*range(0, length - config.tile, step), length - config.tile]


def _spread(places: list[int], number: int) -> list[int]:
    """At most `number` of the places, spread evenly."""
    number = min(number, len(places))
    return [places[index * len(places) // number] for index in range(number)]


def _replaced(dataset: Dataset, records: tuple[Record, ...], num_lost: int, config: DataConfig) -> Dataset:
    """The dataset of the tiles, with a warning about objects that none of them shows."""
    why = f"no tile of {config.tile} px shows more than {config.augment.min_visible:g} of them"
    way_out = "Raise --data.tile, or lower --data.augment.min-visible"
    if not any(len(record.boxes) for record in records):
        raise DataError(f"{dataset.name}: all boxes are left out, because {why}. {way_out}.", kind="no boxes")
    if not num_lost:
        return dataclasses.replace(dataset, records=records)
    warning = f"left out {counted(num_lost, 'box', 'boxes')}, because {why}. {way_out}"
    return dataclasses.replace(dataset, records=records, warnings=(*dataset.warnings, warning))
