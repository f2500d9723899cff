"""Reads the images of data sets, or their headers alone, and compares them with the annotations and each other."""

import collections
import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from yolox_jax.data.dataset import Record
from yolox_jax.data.doctor.annotations import SHARED, SHARED_ADVICE, same_image
from yolox_jax.data.doctor.finding import BOTH, Case, Finding, Level, Split, found
from yolox_jax.data.header import no_warnings_of_headers, read_header
from yolox_jax.data.image import BrokenImage, decode_image

CHUNK = 512
"""Images under way at a time: what waits takes memory."""
BROKEN, RESIZED = "images that cannot be read", "images of another size than annotated"
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Sight(NamedTuple):
    """What was seen of one image."""

    split: Split
    record: Record
    digest: bytes = b""
    """Of the content of the file; empty where it was not read whole."""
    fault: str = ""
    """`BROKEN`, `RESIZED` or nothing."""
    why: str = ""


def look_at_images(
    images: Sequence[tuple[Split, Record]], *, quick: bool, num_threads: int, on_progress: Callable[[int, int], None]
) -> Iterator[Sight]:
    """Look at each image.

    Args:
        images: those of both splits.
        quick: read headers alone, which tell the size.
        num_threads: images that are read side by side.
        on_progress: called with the numbers of images done and of all.

    Yields:
        What was seen of each, in order.
    """
    done = 0
    with no_warnings_of_headers(), ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, len(images), CHUNK):
            for sight in pool.map(lambda item: look_at(*item, quick=quick), images[start : start + CHUNK]):
                yield sight
                done += 1
                on_progress(done, len(images))


def look_at(split: Split, record: Record, *, quick: bool) -> Sight:
    """Look at one image; arguments as for `look_at_images`."""
    size = record.height, record.width
    try:
        if quick and _size_in_header(record) == size:
            return Sight(split, record)
        content = record.encoded()
    except ValueError:  # a name that no file can have
        return Sight(split, record)
    except OSError as error:
        if error.errno in _MISSING:
            return Sight(split, record)  # reading the annotations has named it, as above
        return Sight(split, record, fault=BROKEN, why=f"cannot be read ({error.strerror or error})")
    digest = b"" if quick else hashlib.sha256(content).digest()
    fault = why = ""
    try:
        if decode_image(content, record.path).shape[:2] != size:
            fault = RESIZED
            decode_image(content, record.path, size=size)  # which tells how the sizes differ
    except BrokenImage as error:
        fault, why = fault or BROKEN, error.why
    return Sight(split, record, digest, fault, why)


def _size_in_header(record: Record) -> tuple[int, int] | None:
    header = read_header(record.path if record.archive is None else record.encoded())
    return header and header.upright_size


def image_findings(sights: Iterable[Sight], broken_images: Literal["skip", "stop"]) -> list[Finding]:
    """What is wrong with images.

    Args:
        sights: what was seen of all images of both splits.
        broken_images: what an image that cannot be used does to training, as in `DataConfig`.
    """
    looked_at: collections.Counter[Split] = collections.Counter()
    faulty: dict[tuple[Split, str], list[Case]] = collections.defaultdict(list)
    by_digest: dict[bytes, list[Sight]] = {}
    for sight in sights:
        looked_at[sight.split] += 1
        if sight.fault:
            faulty[sight.split, sight.fault].append(_case_of_fault(sight))
        elif sight.digest:
            by_digest.setdefault(sight.digest, []).append(sight)
    alike = [group for group in by_digest.values() if len(group) > 1]
    return [
        finding
        for (split, fault), cases in faulty.items()
        for finding in _found_faulty(split, fault, cases, looked_at[split], broken_images)
    ] + [*_duplicates(alike, "train"), *_duplicates(alike, "val"), *_shared(alike)]


def _case_of_fault(sight: Sight) -> Case:
    boxes = sight.record.boxes.tolist() if sight.fault == RESIZED else []
    text = f"{sight.record.path} {sight.why}"
    return Case(text, (sight.record,), tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes))


def _found_faulty(
    split: Split, fault: str, cases: list[Case], of: int, broken_images: Literal["skip", "stop"]
) -> list[Finding]:
    level: Level = "error" if broken_images == "stop" or (split == "train" and len(cases) == of) else "warning"
    advice = {
        BROKEN: "Replace the files, or take them out of the annotations.",
        RESIZED: "Correct the size in the annotations if the boxes fit the image, or put the annotated image in place.",
    }[fault]
    fate = {
        "skip": "They are left out (--data.broken-images skip). ",
        "stop": "Training stops at the first that it meets (--data.broken-images stop). ",
    }[broken_images]
    return found(fault, (split,), level, fate + advice, cases)


def _duplicates(alike: list[list[Sight]], split: Split) -> list[Finding]:
    cases = []
    for group in alike:
        records = list({same_image(sight.record): sight.record for sight in group if sight.split == split}.values())
        cases += [
            Case(f"{record.path} has the content of {records[0].path}", (records[0], record)) for record in records[1:]
        ]
    advice = "They count twice; with different boxes, they contradict each other. Remove all but one."
    return found("images of the same content", (split,), "warning", advice, cases)


def _shared(alike: list[list[Sight]]) -> list[Finding]:
    """Pairs of different files alone: those of one file are found without reading it."""
    cases = []
    for group in alike:
        train = [sight.record for sight in group if sight.split == "train"]
        known = {same_image(record) for record in train}
        cases += [
            Case(f"{sight.record.path} (val) has the content of {train[0].path} (train)", (train[0], sight.record))
            for sight in group
            if sight.split == "val" and train and same_image(sight.record) not in known
        ]
    return found(f"{SHARED}, by content", BOTH, "warning", SHARED_ADVICE, cases)
