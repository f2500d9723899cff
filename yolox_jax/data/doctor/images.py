"""Checks of images: reads them, or only their headers, and compares them with the annotations and each other."""

import collections
import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from yolox_jax.data.damage import complaint, decoder_messages
from yolox_jax.data.dataset import Record
from yolox_jax.data.doctor.annotations import SHARED_ADVICE, same_image
from yolox_jax.data.doctor.finding import BOTH, Case, Finding, Level, Split, finding_if_any
from yolox_jax.data.header import no_header_warnings, read_header
from yolox_jax.data.image import BrokenImage, decode_image

CHUNK = 64
"""Images checked at a time. If decoders complain about one of them, all are decoded again to learn which."""
BROKEN, RESIZED = "images that cannot be read", "images of another size than annotated"
DAMAGED = "images that are damaged inside"
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class ImageCheck(NamedTuple):
    """The result of checking one image."""

    split: Split
    record: Record
    digest: bytes = b""
    """SHA-256 of the file; empty if it was not read completely."""
    fault: str = ""
    """`BROKEN`, `RESIZED`, `DAMAGED`, or empty."""
    why: str = ""


def check_images(
    images: Sequence[tuple[Split, Record]], *, quick: bool, num_threads: int, on_progress: Callable[[int, int], None]
) -> Iterator[ImageCheck]:
    """Check each image.

    Args:
        images: the images of both splits.
        quick: read only headers, which contain the size.
        num_threads: number of images to read in parallel.
        on_progress: called with the number of images done and the number of all images.

    Yields:
        The result for each image, in order.
    """
    done = 0
    with no_header_warnings(), ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, len(images), CHUNK):
            with decoder_messages() as messages:
                checks = list(pool.map(lambda item: check_image(*item, quick=quick), images[start : start + CHUNK]))
            for check in checks:
                yield _with_damage(check) if messages and check.digest and not check.fault else check
                done += 1
                on_progress(done, len(images))


def check_image(split: Split, record: Record, *, quick: bool) -> ImageCheck:
    """Check one image. See `check_images` for `quick`."""
    size = record.height, record.width
    try:
        if quick and _size_in_header(record) == size:
            return ImageCheck(split, record)
        content = record.encoded()
    except ValueError:  # not a valid file name
        return ImageCheck(split, record)
    except OSError as error:
        if error.errno in _MISSING:
            return ImageCheck(split, record)  # reading the annotations has reported it, as above
        return ImageCheck(split, record, fault=BROKEN, why=f"cannot be read ({error.strerror or error})")
    digest = b"" if quick else hashlib.sha256(content).digest()
    fault = why = ""
    try:
        if decode_image(content, record.path, record.pixels).shape[:2] != size:
            fault = RESIZED
            decode_image(content, record.path, record.pixels, size=size)  # raises with a description of the difference
    except BrokenImage as error:
        fault, why = fault or BROKEN, error.why
    return ImageCheck(split, record, digest, fault, why)


def _with_damage(check: ImageCheck) -> ImageCheck:
    """Decode an image again, and add what the decoder says about it."""
    try:
        why = complaint(check.record.encoded())
    except OSError:  # read before
        return check
    return check._replace(fault=DAMAGED, why=f"is decoded with errors ({why})") if why else check


def _size_in_header(record: Record) -> tuple[int, int] | None:
    header = read_header(record.path if record.archive is None else record.encoded())
    return header and header.upright_size


def image_findings(checks: Iterable[ImageCheck], broken_images: Literal["skip", "stop"]) -> list[Finding]:
    """Return the findings of all image checks.

    Args:
        checks: the results for all images of both splits.
        broken_images: what training does with an unusable image, see `DataConfig`.
    """
    num_checked: collections.Counter[Split] = collections.Counter()
    faulty: dict[tuple[Split, str], list[Case]] = collections.defaultdict(list)
    by_digest: dict[bytes, list[ImageCheck]] = {}
    for check in checks:
        num_checked[check.split] += 1
        if check.fault:
            faulty[check.split, check.fault].append(_case_of_fault(check))
        elif check.digest:
            by_digest.setdefault(check.digest, []).append(check)
    identical = [group for group in by_digest.values() if len(group) > 1]
    return [
        finding
        for (split, fault), cases in faulty.items()
        for finding in _faulty_image_findings(split, fault, cases, num_checked[split], broken_images)
    ] + [*_duplicates(identical, "train"), *_duplicates(identical, "val"), *_shared(identical)]


def _case_of_fault(check: ImageCheck) -> Case:
    boxes = check.record.boxes.tolist() if check.fault == RESIZED else []
    text = f"{check.record.path} {check.why}"
    return Case(text, (check.record,), tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes))


def _faulty_image_findings(
    split: Split, fault: str, cases: list[Case], num_images: int, broken_images: Literal["skip", "stop"]
) -> list[Finding]:
    if fault == DAMAGED:
        advice = "Training uses them as decoded, possibly with wrong colours or shifted parts. Replace the files."
        return finding_if_any(fault, (split,), "warning", advice, cases)
    level: Level = "error" if broken_images == "stop" or (split == "train" and len(cases) == num_images) else "warning"
    advice = {
        BROKEN: "Replace the files, or remove them from the annotations.",
        RESIZED: "Correct the size in the annotations if the boxes fit the image, or restore the annotated image.",
    }[fault]
    effect = {
        "skip": "They are skipped (--data.broken-images skip). ",
        "stop": "Training stops at the first of them (--data.broken-images stop). ",
    }[broken_images]
    return finding_if_any(fault, (split,), level, effect + advice, cases)


def _duplicates(identical: list[list[ImageCheck]], split: Split) -> list[Finding]:
    cases = []
    for group in identical:
        records = list({same_image(check.record): check.record for check in group if check.split == split}.values())
        cases += [
            Case(f"{record.path} has the content of {records[0].path}", (records[0], record)) for record in records[1:]
        ]
    advice = "They count twice, and different boxes contradict each other. Remove all but one."
    return finding_if_any("duplicate images", (split,), "warning", advice, cases)


def _shared(identical: list[list[ImageCheck]]) -> list[Finding]:
    """Return pairs of different files only; entries of the same file are found without reading it."""
    cases = []
    for group in identical:
        train = [check.record for check in group if check.split == "train"]
        known = {same_image(record) for record in train}
        cases += [
            Case(f"{check.record.path} (val) has the content of {train[0].path} (train)", (train[0], check.record))
            for check in group
            if check.split == "val" and train and same_image(check.record) not in known
        ]
    return finding_if_any("leakage: identical images in train and val", BOTH, "warning", SHARED_ADVICE, cases)
