"""Image files: those of a folder or glob pattern, what else lies there, and their pixels."""

import collections
import glob
import itertools
import logging
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image

from yolox_jax.data.header import no_header_warnings
from yolox_jax.data.image import BrokenImage, read_image
from yolox_jax.data.image_formats import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES, without_copies
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.inference.input.frames import Frame
from yolox_jax.text import counted

VIDEO_SUFFIXES = (
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".m2ts",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
    ".mjpeg",
    ".mjpg",
)
NUM_READERS = 4
"""Threads that decode image files."""
READ_AHEAD = 16
"""Image files that are decoded before they are needed."""
CONVERT = "OpenCV cannot read this format; convert to JPEG or PNG"
_ANIMATED_SUFFIXES = (".gif", ".webp", ".tif", ".tiff", ".apng")
"""Formats that may hold several frames or pages."""
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")

logger = logging.getLogger(__name__)


class Files(NamedTuple):
    """The files of a folder or glob pattern."""

    images: list[Path]
    videos: list[Path]
    others: list[Path]
    """Files that are not read."""
    folders: list[Path]

    def left_out(self) -> str:
        """What is not read, and in parentheses why or what to do about it; empty if there is nothing."""
        kinds = collections.Counter(path.suffix.lower() for path in self.others)
        unreadable = {suffix: count for suffix, count in kinds.items() if suffix in UNREADABLE_SUFFIXES}
        videos = sum(count for suffix, count in kinds.items() if suffix in VIDEO_SUFFIXES)
        rest = {k: n for k, n in kinds.items() if k not in UNREADABLE_SUFFIXES and k not in VIDEO_SUFFIXES}
        parts = []
        if unreadable:
            parts.append(f"{_by_suffix(unreadable)} ({CONVERT})")
        if videos:
            parts.append(f"{counted(videos, 'video')} (pass each by itself)")
        if rest:
            parts.append(f"{_by_suffix(rest)} (not images)")
        if self.folders and not self.images:
            parts.append(
                f"{counted(len(self.folders), 'subfolder')} (pass the pattern '{self.folders[0].parent}/**/*')"
            )
        return ", ".join(parts)


def list_files(source: Path) -> Files:
    """List the files of a folder, of a glob pattern, or a file itself, sorted by name and kind.

    Images and videos are recognised by their suffix; a file given by its own name may have any. Files of the operating
    system, such as `.DS_Store` and macOS's `._NAME`, are ignored.
    """
    if source.is_dir():
        paths = sorted(source.iterdir())
    elif source.exists():
        paths = [source]
    else:
        paths = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
    files = Files([], [], [], [])
    for path in paths:
        suffix = path.suffix.lower()
        if path.is_dir():
            files.folders.append(path)
        elif not path.is_file() or path.name.startswith("._"):
            continue
        elif suffix in IMAGE_SUFFIXES or (path == source and _is_image(path)):
            files.images.append(path)
        elif suffix in VIDEO_SUFFIXES:
            files.videos.append(path)
        elif not path.name.startswith(".") and path.name.lower() not in _SYSTEM_FILES:
            files.others.append(path)
    kept = set(without_copies([str(path) for path in files.images]))
    files.images[:] = [path for path in files.images if str(path) in kept]
    return files


def warn_of_others(source: Path, files: Files) -> None:
    """Log which files of a folder or pattern are left out, and why, if any images or videos are read."""
    if files.others and (files.images or files.videos):
        logger.warning("%s: left out %s", source, files.left_out())


def image_frames(paths: Sequence[Path], pixels: PixelFormat = BGR8) -> Generator[Frame, None, None]:
    """Read images in threads, in order; `pixels` is as for `decode_image`.

    As 8-bit BGR, the first is read of an animation or a file with several pages.
    """
    pending: collections.deque[tuple[Path, Future[np.ndarray]]] = collections.deque()
    remaining = iter(paths)
    is_warned = False
    with ThreadPoolExecutor(NUM_READERS) as pool:
        try:
            while True:
                for path in itertools.islice(remaining, READ_AHEAD - len(pending)):
                    pending.append((path, pool.submit(read_image, path, pixels)))
                if not pending:
                    return
                path, future = pending.popleft()
                try:
                    frame = Frame(path.name, future.result(), path)
                except BrokenImage as error:
                    yield Frame(path.name, None, path, error.why)
                    continue
                if not is_warned and pixels == BGR8 and (number := _num_frames(path)) > 1:
                    is_warned = True
                    logger.warning(
                        "%s has %d frames or pages; only the first is used, here and in other images. To use all, "
                        "convert it to a video or to several images",
                        path,
                        number,
                    )
                yield frame
        finally:
            pool.shutdown(cancel_futures=True)


def _num_frames(path: Path) -> int:
    if path.suffix.lower() not in _ANIMATED_SUFFIXES:
        return 1
    try:
        with no_header_warnings(), PIL.Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # OpenCV has read it, so that an error of Pillow does not matter
        return 1


def _is_image(path: Path) -> bool:
    """Whether OpenCV recognises the content of a file."""
    # Its AVIF reader claims HEIC, and fails.
    return path.suffix.lower() not in (*VIDEO_SUFFIXES, *UNREADABLE_SUFFIXES) and cv2.haveImageReader(str(path))


def _by_suffix(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(counts.items(), key=lambda item: -item[1])
    )
