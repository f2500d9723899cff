"""The whole check of the data sets of a config."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from yolox_jax.config import DataConfig
from yolox_jax.data.dataset import DataError, Dataset, Record, check_same_classes
from yolox_jax.data.doctor.annotations import (
    FINEST_STRIDE_PX,
    count_boxes,
    findings_between,
    findings_of_split,
    tabulate,
)
from yolox_jax.data.doctor.finding import BOTH, Case, Finding, Level, Split, found
from yolox_jax.data.doctor.images import image_findings, look_at_images
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.checks import NO_AREA, OUTSIDE, PARTLY_OUTSIDE, ErrorHandler, Repair
from yolox_jax.data.sources.coco import AREA_OF_BOX, REPEATED_ID

SIZE_BOUNDS_PX = {"below 8 px": FINEST_STRIDE_PX, "stride 8": 64, "stride 16": 128, "stride 32": np.inf}
"""Upper bounds of box sizes, the root of the area at the input size: roughly the stride that an object falls to, eight
cells to its side at most. SimOTA has no such bounds; it takes what fits best."""
HARMLESS_OVERHANG_PX = 1.0
"""Programs differ by a px in where an image ends."""

_FATE_OF_MENDED: dict[str, tuple[Level, str]] = {
    NO_AREA: ("warning", "They are left out. Correct or remove them."),
    OUTSIDE: ("warning", "They are left out. Correct them, or check that the annotations belong to these images."),
    PARTLY_OUTSIDE: ("warning", "They are clipped to their image. Correct them if they reach out far."),
    REPEATED_ID: ("warning", "Ids are given anew for training; other programs drop or mix up such annotations."),
    AREA_OF_BOX: ("note", "The area of the box is taken, by which small, medium and large objects are told apart."),
}


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Figures of one split."""

    images: int
    boxes: int
    background: int
    """Images without objects."""
    most_boxes: int
    """In one image."""
    boxes_of_class: dict[str, int]
    sizes: dict[str, int]
    """Boxes by size at the input size, see `SIZE_BOUNDS_PX`."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What the check found."""

    findings: tuple[Finding, ...]
    """Errors first, notes last."""
    statistics: dict[Split, Statistics]
    """Of the splits that could be read."""

    @property
    def reasons_to_fail(self) -> tuple[str, ...]:
        """What training would stop at."""
        return tuple(
            f"{finding.kind} ({' and '.join(finding.splits)})" for finding in self.findings if finding.level == "error"
        )


def examine(config: DataConfig, *, quick: bool, on_progress: Callable[[int, int], None]) -> Report:
    """Read all annotations and images of a config and find what is wrong with them.

    Args:
        config: which data sets, and the settings of training that they have to suit.
        quick: read the headers of images alone, and compare no content.
        on_progress: called with the numbers of images done and of all.

    Raises:
        ConfigError: a setting that leads nowhere.
    """
    errors: dict[Split, ErrorHandler] = {split: ErrorHandler(collect=True) for split in BOTH}
    opened: dict[Split, Dataset] = {}
    for split in BOTH:
        with errors[split]:
            opened[split] = open_datasets(config, split, errors=errors[split])
    findings = _errors(errors)
    for split, dataset in opened.items():
        findings += [*_mended(errors[split].repairs, dataset, split), *findings_of_split(dataset, split, config)]
    if len(opened) == len(BOTH):
        findings += [*_different_classes(opened), *findings_between(opened["train"], opened["val"])]
    images = [(split, record) for split, dataset in opened.items() for record in dataset.records]
    sights = look_at_images(images, quick=quick, num_threads=config.num_threads, on_progress=on_progress)
    findings += image_findings(sights, config.broken_images)
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))
    statistics = {split: measure(dataset, config.input_size) for split, dataset in opened.items()}
    return Report(tuple(findings), statistics)


def _errors(errors: dict[Split, ErrorHandler]) -> list[Finding]:
    """What ends the reading; entries that all splits read, such as the XML files of VOC, stand there once."""
    splits_of: dict[tuple[str, str], list[Split]] = {}
    for split in BOTH:
        for error in errors[split].collected:
            for text in error.each:
                splits_of.setdefault((error.kind, text), []).append(split)
    cases: dict[tuple[str, tuple[Split, ...]], list[Case]] = {}
    for (kind, text), splits in splits_of.items():
        cases.setdefault((kind, tuple(dict.fromkeys(splits))), []).append(Case(text))
    advice = "Training stops at the first of them: correct or remove what is named."
    return [finding for key, listed in cases.items() for finding in found(*key, "error", advice, listed)]


def _mended(mended: Sequence[Repair], dataset: Dataset, split: Split) -> list[Finding]:
    records = {record.path: record for record in dataset.records}
    used = [entry for entry in mended if entry.path in records]  # not all are, of a fraction of the images
    findings = []
    for kind in dict.fromkeys(entry.kind for entry in used):
        entries = [entry for entry in used if entry.kind == kind]
        if kind == PARTLY_OUTSIDE:
            entries.sort(key=lambda entry: -_overhang(entry, records[entry.path]))
        level, advice = _FATE_OF_MENDED[kind]
        if kind == PARTLY_OUTSIDE and _overhang(entries[0], records[entries[0].path]) <= HARMLESS_OVERHANG_PX:
            level = "note"
        cases = [_case_of_mended(entry, records) for entry in entries]
        findings += found(kind, (split,), level, advice, cases)
    return findings


def _overhang(entry: Repair, record: Record) -> float:
    x1, y1, x2, y2 = entry.box_xyxy
    return max(-x1, -y1, x2 - record.width, y2 - record.height)


def _case_of_mended(entry: Repair, records: dict[Path, Record]) -> Case:
    record, (x1, y1, x2, y2) = records[entry.path], entry.box_xyxy
    text = f"{entry.where}: from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) in an image of {record.width}x{record.height} px"
    return Case(text, (record,), (entry.box_xyxy,))


def _different_classes(opened: dict[Split, Dataset]) -> list[Finding]:
    try:
        check_same_classes(opened["train"], opened["val"])
    except DataError as error:
        advice = "Training does not start: the outputs of the network are the same for both."
        return found(error.kind, BOTH, "error", advice, [Case(str(error))])
    return []


def measure(dataset: Dataset, input_size: tuple[int, int]) -> Statistics:
    """Figures of a data set; `input_size` is the height and width in px at which it is trained."""
    sizes = np.sqrt(tabulate(dataset, input_size).sides.prod(axis=1))
    bins = np.searchsorted(np.array(list(SIZE_BOUNDS_PX.values())), sizes, side="right")
    counts = np.bincount(bins, minlength=len(SIZE_BOUNDS_PX)).tolist()
    boxes = [len(record.boxes) for record in dataset.records]
    return Statistics(
        images=len(boxes),
        boxes=sum(boxes),
        background=boxes.count(0),
        most_boxes=max(boxes, default=0),
        boxes_of_class=count_boxes(dataset),
        sizes=dict(zip(SIZE_BOUNDS_PX, counts, strict=True)),
    )
