"""The cache file on disk: its name, and the trailer that marks it as complete.

The name contains the size and pixel format and a digest of the source images, so that changed images get another file.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from yolox_jax.config import ConfigError
from yolox_jax.data.cache.free_space import check_free_space
from yolox_jax.data.dataset import Record
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.pixel_format import BGR8
from yolox_jax.files import atomic_write, lock_file

MAGIC = b"yolox_jax pixels"
VERSION = 1

Broken = dict[int, tuple[str, str]]
"""Path and error of the images that could not be read, by the index of their record."""

logger = logging.getLogger("yolox_jax.data")


@contextlib.contextmanager
def open_cache_file(
    folder: Path, records: Sequence[Record], size: tuple[int, int], num_bytes: int, fill: Callable[[int], Broken]
) -> Iterator[tuple[int, Path, Broken]]:
    """Open the cache file of these images; create it if it does not exist.

    Args:
        folder: of the cache files.
        records: the images.
        size: height and width in px that they are resized to fit.
        num_bytes: total size of the images.
        fill: writes the images to a file descriptor, and returns the broken ones.

    Yields:
        The file descriptor, the path, and the broken images.

    Raises:
        ConfigError: the folder cannot be written to, or the disk is full.
    """
    listed = "\n".join(record.key for record in records)
    names = hashlib.sha256(listed.encode(errors="surrogatepass")).hexdigest()  # file names need not be valid Unicode
    layout = f"{size[0]}x{size[1]}"
    if records and (pixels := records[0].pixels) != BGR8:
        layout += f"x{pixels.channels}x{pixels.bits}"
    path = folder / f"{names[:16]}-{layout}-{_digest_of_source(records)[:16]}.pixels"
    try:
        broken = _broken_in(path, records, num_bytes)
        if broken is None:
            broken = _make(path, records, size, num_bytes, fill)
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(
            f"--data.cache-dir {folder} cannot be used: {error.strerror or error}. Pass another folder, or use "
            "--data.cache none."
        ) from error
    try:
        yield descriptor, path, broken
    finally:
        os.close(descriptor)


def _make(
    path: Path,
    records: Sequence[Record],
    size: tuple[int, int],
    num_bytes: int,
    fill: Callable[[int], Broken],
) -> Broken:
    folder, stem = path.parent, path.stem.rpartition("-")[0]
    folder.mkdir(parents=True, exist_ok=True)
    # Of several processes, one creates the file and the others wait for it.
    with (folder / f"{stem}.lock").open("w") as lock:
        lock_file(lock)
        broken = _broken_in(path, records, num_bytes)
        if broken is not None:
            return broken
        for left in folder.glob(f".{stem}-*"):  # left by a process that was killed
            left.unlink()
        check_free_space(num_bytes, len(records), size, folder)
        with atomic_write(path) as temporary, temporary.open("x+b") as file:
            descriptor = file.fileno()
            if hasattr(os, "posix_fallocate"):  # not on macOS
                # Detect a full disk now, not when the last image is written.
                os.posix_fallocate(descriptor, 0, max(num_bytes, 1))
            broken = fill(descriptor)
            trailer = json.dumps({"version": VERSION, "bytes": num_bytes, "broken": broken}).encode()
            os.pwrite(descriptor, trailer + len(trailer).to_bytes(8, "little") + MAGIC, max(num_bytes, 1))
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        for other in folder.glob(f"{stem}-*.pixels"):
            if other != path:  # an older state of these images; processes that still read it have it open
                other.unlink()
    logger.info("kept the decoded images in %s for later runs; delete the file when you no longer need it", path)
    return broken


def _broken_in(path: Path, records: Sequence[Record], num_bytes: int) -> Broken | None:
    """Return the broken images of a valid file; None without one, or if a broken image has become readable."""
    trailer = _read_trailer(path)
    if trailer is None or trailer["version"] != VERSION or trailer["bytes"] != num_bytes:
        return None
    broken = {int(index): (str(why[0]), str(why[1])) for index, why in trailer["broken"].items()}
    for index in broken:
        with contextlib.suppress(BrokenImage):
            load_image(records[index])
            return None
    logger.info("using the decoded images in %s", path)
    return broken


def _read_trailer(path: Path) -> dict[str, Any] | None:
    """Read the trailer of a complete file."""
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


def _digest_of_source(records: Sequence[Record]) -> str:
    """Return a digest of the names, sizes and times of all image files and archives, and of the annotated sizes."""
    digest = hashlib.sha256()
    for record in records:
        text = f"{record.key} {record.height} {record.width}"
        digest.update(text.encode(errors="surrogatepass"))
        if record.archive is not None:
            digest.update(repr(record.archive).encode(errors="surrogatepass"))
        else:
            with contextlib.suppress(OSError):
                status = record.path.stat()
                digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
        digest.update(b"\n")
    return digest.hexdigest()
