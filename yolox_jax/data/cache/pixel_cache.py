"""Training images, decoded and resized once, in memory or in a file that all workers share.

The images are stored as bytes one after another, in the order of the records. Their sizes follow from the annotations.
"""

import contextlib
import errno
import logging
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt

from yolox_jax.config import DataConfig
from yolox_jax.data.cache.disk_file import Broken, open_cache_file
from yolox_jax.data.cache.free_space import check_free_space, format_bytes
from yolox_jax.data.dataset import Record
from yolox_jax.data.image import BrokenImage, cut_tile, load_whole
from yolox_jax.data.letterbox import fitted_size, resize_to_fit
from yolox_jax.data.pixel_format import PixelFormat, pixel_format
from yolox_jax.files import expand_home, user_cache

logger = logging.getLogger("yolox_jax.data")


class PixelCache:
    """Images by the index of their record. A process that unpickles a cache reads the same memory."""

    def __init__(self, path: str, sizes: Int64[np.ndarray, "N 2"], pixels: PixelFormat, broken: Broken) -> None:
        """Open a complete cache.

        Args:
            path: of the file, or of the shared memory.
            sizes: height and width of each image.
            pixels: the format of all images.
            broken: images that could not be read, by index.
        """
        self._path, self._sizes, self._pixels, self._broken = path, sizes, pixels, broken
        self._offsets = _offsets(sizes, pixels)
        with Path(path).open("rb") as file:
            pages = mmap.mmap(file.fileno(), max(int(self._offsets[-1]), 1), prot=mmap.PROT_READ)
        self._bytes = np.frombuffer(pages, np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelCache, (self._path, self._sizes, self._pixels, self._broken)

    def __getitem__(self, index: int) -> UInt[np.ndarray, "h w C"]:
        """Return the image of a record, resized to fit the input; it is read-only.

        Raises:
            BrokenImage: it could not be read when the cache was filled.
        """
        if index in self._broken:
            path, why = self._broken[index]
            raise BrokenImage(Path(path), why)
        height, width = self._sizes[index].tolist()
        stored = self._bytes[self._offsets[index] : self._offsets[index + 1]]
        return stored.view(self._pixels.dtype).reshape(height, width, self._pixels.channels)


@contextlib.contextmanager
def open_cache(
    records: Sequence[Record], config: DataConfig, *, on_image: Callable[[], None] = lambda: None
) -> Iterator[PixelCache | None]:
    """Open and fill the cache that a config selects; yields None if that is `none`.

    The memory is freed at the end of the context, once the workers have ended too.

    Args:
        records: the images.
        config: the kind of cache, and the input size.
        on_image: called after each image while the cache is filled. An exception stops filling and leaves no file.

    Raises:
        ConfigError: there is not enough memory or disk space, or the folder cannot be written to.
    """
    if config.cache == "none":
        yield None
        return
    heights_widths = [fitted_size((record.height, record.width), config.input_size)[0] for record in records]
    sizes = np.array(heights_widths, np.int64).reshape(-1, 2)
    pixels = pixel_format(config)
    num_bytes = int(_offsets(sizes, pixels)[-1])

    def fill(descriptor: int) -> Broken:
        return _fill(descriptor, records, config.input_size, _offsets(sizes, pixels), on_image)

    if config.cache == "ram":
        check_free_space(num_bytes, len(records), config.input_size, "memory")
        with _shared_memory() as (descriptor, path):
            os.ftruncate(descriptor, max(num_bytes, 1))
            broken = fill(descriptor)
            yield PixelCache(_path_for_others(descriptor, path), sizes, pixels, broken)
        return
    folder = expand_home(config.cache_dir) if config.cache_dir else user_cache() / "images"
    with open_cache_file(folder, records, config.input_size, num_bytes, fill) as (descriptor, path, broken):
        yield PixelCache(_path_for_others(descriptor, path), sizes, pixels, broken)


@contextlib.contextmanager
def _shared_memory() -> Iterator[tuple[int, Path]]:
    """Yield memory that other processes can open as a file. It is freed when the last of them ends, however it ends."""
    if not hasattr(os, "memfd_create"):  # not Linux
        with tempfile.NamedTemporaryFile(prefix="yolox_jax-") as file:
            yield file.fileno(), Path(file.name)
        return
    descriptor = os.memfd_create("yolox_jax-images")
    try:
        yield descriptor, Path()
    finally:
        os.close(descriptor)


def _path_for_others(descriptor: int, path: Path) -> str:
    """Return the path for other processes. On Linux it leads to the file that is open here, even after replacement."""
    opened = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    return str(opened if opened.exists() else path)


def _fill(
    descriptor: int,
    records: Sequence[Record],
    size: tuple[int, int],
    offsets: Int64[np.ndarray, " M"],
    on_image: Callable[[], None],
) -> Broken:
    """Write all images, and return the broken ones."""
    broken: Broken = {}

    def write(indices: Sequence[int]) -> tuple[str, str] | None:
        """Write the records of one image: itself, or its tiles."""
        try:
            whole = load_whole(records[indices[0]])
        except BrokenImage as error:
            return str(error.path), error.why
        for index in indices:
            image, _ = resize_to_fit(cut_tile(whole, records[index]), size)
            if os.pwrite(descriptor, np.ascontiguousarray(image).data, int(offsets[index])) < image.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return None

    logger.info("decoding %d images into the cache (%s)", len(records), format_bytes(int(offsets[-1])))
    step = max(len(records) // 10, 1)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        groups = _of_same_image(records)
        for indices, fault in zip(groups, pool.map(write, groups), strict=True):
            for index in indices:
                if fault is not None:
                    broken[index] = fault
                if (index + 1) % step == 0 and len(records) >= 1000:
                    logger.info("cached %d of %d images", index + 1, len(records))
                on_image()
    finally:
        pool.shutdown(cancel_futures=True)
    return broken


def _of_same_image(records: Sequence[Record]) -> list[list[int]]:
    """Indices of neighbouring tiles of one image together, so that it is decoded once; other records on their own."""
    groups: list[list[int]] = []
    for index, record in enumerate(records):
        before = records[index - 1] if index else record
        if index and record.tile and before.tile and record.image_key == before.image_key:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _offsets(sizes: Int64[np.ndarray, "N 2"], pixels: PixelFormat) -> Int64[np.ndarray, " M"]:
    """Return the offset of each image, and the total size, in bytes."""
    pixel_bytes = pixels.channels * pixels.bits // 8
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(pixel_bytes * sizes.prod(axis=1))])
