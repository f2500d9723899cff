"""Training images decoded and resized to fit the input once, in memory or a file that all loading processes share.

Images lie one after the other as bytes, in the order of the records; their sizes follow from the annotations. On disk,
a trailer says what they were made from.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from yolox_jax.config import ConfigError, DataConfig
from yolox_jax.data.free_memory import free_memory
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import fitted_size, resize_to_fit
from yolox_jax.data.sources.dataset import Record
from yolox_jax.data.user_cache import user_cache

MAGIC = b"yolox_jax pixels"
VERSION = 1
MOST_OF_THE_MEMORY = 0.9
"""A cache that would take more of the free memory than this is refused: training needs some too."""

logger = logging.getLogger("yolox_jax.data")


class PixelCache:
    """Images by the index of their record. Can be sent to another process, which then reads the same memory."""

    def __init__(self, path: str, sizes: Int64[np.ndarray, "N 2"], broken: dict[int, tuple[str, str]]) -> None:
        """Opens a cache that is whole.

        Args:
            path: of the file, or of the memory as a file.
            sizes: height and width of each image.
            broken: path and fault of the images that could not be read, by their index.
        """
        self._path, self._sizes, self._broken = path, sizes, broken
        self._offsets = _offsets(sizes)
        with Path(path).open("rb") as file:
            pages = mmap.mmap(file.fileno(), max(int(self._offsets[-1]), 1), prot=mmap.PROT_READ)
        self._bytes = np.frombuffer(pages, np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelCache, (self._path, self._sizes, self._broken)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image of a record, resized to fit the input; read-only.

        Raises:
            BrokenImage: it could not be read when the cache was made.
        """
        if index in self._broken:
            path, why = self._broken[index]
            raise BrokenImage(Path(path), why)
        height, width = self._sizes[index].tolist()
        return self._bytes[self._offsets[index] : self._offsets[index + 1]].reshape(height, width, 3)


@contextlib.contextmanager
def open_cache(records: Sequence[Record], config: DataConfig) -> Iterator[PixelCache | None]:
    """The cache that a config asks for, filled; None if it asks for none.

    Memory is given back at the end of the context, once the loading processes are gone too.

    Raises:
        ConfigError: there is not enough memory or disk space for it.
        OSError: the file cannot be written.
    """
    if config.cache == "none":
        yield None
        return
    sizes = [fitted_size((record.height, record.width), config.input_size)[0] for record in records]
    table = np.array(sizes, np.int64).reshape(-1, 2)
    if config.cache == "disk":
        yield _open_on_disk(records, config, table)
        return
    needed = int(_offsets(table)[-1])
    _check_room(needed, int(MOST_OF_THE_MEMORY * free_memory()), "of memory can be used", "ram", records, config)
    with _shared_memory() as (descriptor, path):
        os.ftruncate(descriptor, max(needed, 1))
        broken = _fill(descriptor, records, config.input_size, table)
        yield PixelCache(path, table, broken)


@contextlib.contextmanager
def _shared_memory() -> Iterator[tuple[int, str]]:
    """Memory that other processes open as a file, and that is gone with the last of them, however they end."""
    if not hasattr(os, "memfd_create"):  # other systems than Linux
        with tempfile.NamedTemporaryFile(prefix="yolox_jax-") as file:
            yield file.fileno(), file.name
        return
    descriptor = os.memfd_create("yolox_jax-images")
    try:
        yield descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _open_on_disk(records: Sequence[Record], config: DataConfig, sizes: Int64[np.ndarray, "N 2"]) -> PixelCache:
    folder = Path(config.cache_dir).expanduser() if config.cache_dir else user_cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    names = hashlib.sha256("\n".join(f"{record.path} {record.position}" for record in records).encode()).hexdigest()
    path = folder / f"{names[:16]}-{config.input_size[0]}x{config.input_size[1]}.pixels"
    source = _describe_source(records)
    # Of several processes, one makes the file and the others wait for it.
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trailer = _read_trailer(path)
        if trailer is None or trailer["version"] != VERSION or trailer["source"] != source:
            if path.exists():
                logger.info("%s was made from other images than there are now, or is not whole: made anew", path)
                path.unlink()
            trailer = _write_on_disk(path, records, config, sizes, source)
        else:
            logger.info("images come from %s", path)
    return PixelCache(str(path), sizes, {int(index): tuple(why) for index, why in trailer["broken"].items()})


def _write_on_disk(
    path: Path, records: Sequence[Record], config: DataConfig, sizes: Int64[np.ndarray, "N 2"], source: str
) -> dict[str, Any]:
    """Write a cache beside its place and move it there when it is whole; returns its trailer."""
    needed = int(_offsets(sizes)[-1])
    free = shutil.disk_usage(path.parent).free
    _check_room(needed, free, f"is free in {path.parent}", "disk", records, config)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        # Written to through memory, a file without its space would end the process on a full disk.
        os.posix_fallocate(descriptor, 0, max(needed, 1))
        broken = _fill(descriptor, records, config.input_size, sizes)
        trailer = {"version": VERSION, "source": source, "bytes": needed, "broken": broken}
        content = json.dumps(trailer).encode()
        os.pwrite(descriptor, content + len(content).to_bytes(8, "little") + MAGIC, max(needed, 1))
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    finally:
        os.close(descriptor)
    logger.info("images are kept decoded in %s", path)
    return {**trailer, "broken": {str(index): why for index, why in broken.items()}}


def _read_trailer(path: Path) -> dict[str, Any] | None:
    """What a cache on disk was made from; None if there is none that is whole."""
    ending = 8 + len(MAGIC)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - ending, 0))
            end = file.read()
            length = int.from_bytes(end[:8], "little")
            if end[8:] != MAGIC or length + ending > size:
                return None
            file.seek(size - ending - length)
            trailer: dict[str, Any] = json.loads(file.read(length))
    except (OSError, ValueError):
        return None
    return trailer if size == max(trailer["bytes"], 1) + length + ending else None


def _describe_source(records: Sequence[Record]) -> str:
    """A digest of the names, sizes and times of all image files and archives, and of the annotated sizes."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.path} {record.position} {record.height} {record.width}".encode())
        if record.archive is not None:
            digest.update(repr(record.archive).encode())
        else:
            with contextlib.suppress(OSError):
                status = record.path.stat()
                digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _fill(
    descriptor: int, records: Sequence[Record], size: tuple[int, int], sizes: Int64[np.ndarray, "N 2"]
) -> dict[int, tuple[str, str]]:
    """Write all images; returns path and fault of the broken ones by their index."""
    offsets, broken = _offsets(sizes), {}
    step = max(len(records) // 10, 1)

    def write(index: int) -> tuple[str, str] | None:
        try:
            image, _ = resize_to_fit(load_image(records[index]), size)
        except BrokenImage as error:
            return str(error.path), error.why
        os.pwrite(descriptor, np.ascontiguousarray(image).data, int(offsets[index]))
        return None

    logger.info("decoding %d images into the cache, %s", len(records), _gib(int(offsets[-1])))
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for index, fault in enumerate(pool.map(write, range(len(records)))):
            if fault is not None:
                broken[index] = fault
            if (index + 1) % step == 0 and len(records) >= 1000:
                logger.info("%d of %d images are in the cache", index + 1, len(records))
    finally:
        pool.shutdown(cancel_futures=True)
    return broken


def _offsets(sizes: Int64[np.ndarray, "N 2"]) -> Int64[np.ndarray, " M"]:
    """Where each image begins, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(3 * sizes.prod(axis=1))])


def _check_room(needed: int, free: int, where: str, kind: str, records: Sequence[Record], config: DataConfig) -> None:
    if needed <= free:
        return
    other = "--data.cache disk keeps them on disk instead, " if kind == "ram" else "name another --data.cache-dir, or "
    raise ConfigError(
        f"--data.cache {kind}: {len(records)} images of at most {config.input_size[1]}x{config.input_size[0]} px need "
        f"{_gib(needed)}, but {_gib(free)} {where}; {other}--data.cache none decodes them each time"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
