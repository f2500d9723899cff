"""The complete check of the datasets of a config."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

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
from yolox_jax.data.doctor.finding import BOTH, Case, Finding, Level, Split, finding_if_any
from yolox_jax.data.doctor.images import check_images, image_findings
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.checks import NO_AREA, OUTSIDE, PARTLY_OUTSIDE, ErrorHandler, Repair
from yolox_jax.data.sources.coco import AREA_OF_BOX, REPEATED_ID
from yolox_jax.data.sources.remarks import RemarkKind
from yolox_jax.data.tiles import cut_into_tiles

SIZE_BOUNDS_PX = {"below 8 px": FINEST_STRIDE_PX, "stride 8": 64, "stride 16": 128, "stride 32": np.inf}
"""Upper bounds of box sizes, where the size is the square root of the area at the input size. They roughly tell the
stride that detects an object: at most eight cells per side. SimOTA itself has no such bounds."""
Kind = TypeVar("Kind", str, RemarkKind)
HARMLESS_OVERHANG_PX = 1.0
"""Annotation programs differ by a pixel in where an image ends."""

_EFFECT_OF_REPAIR: dict[str, tuple[Level, str]] = {
    NO_AREA: ("warning", "They are ignored. Correct or remove them."),
    OUTSIDE: ("warning", "They are ignored. Correct them, or check that the annotations belong to these images."),
    PARTLY_OUTSIDE: ("warning", "They are clipped to their image. Correct them if they extend far beyond it."),
    REPEATED_ID: ("warning", "Training assigns new ids, but other programs drop or confuse such annotations."),
    AREA_OF_BOX: ("note", "The area of the box is used instead, to distinguish small, medium and large objects."),
}


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of one split."""

    images: int
    boxes: int
    background: int
    """Images without objects."""
    most_boxes: int
    """The largest number of boxes in one image."""
    boxes_of_class: dict[str, int]
    sizes: dict[str, int]
    """Number of boxes by size at the input size, see `SIZE_BOUNDS_PX`."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a check."""

    findings: tuple[Finding, ...]
    """Errors first, notes last."""
    statistics: dict[Split, Statistics]
    """Statistics of each split that could be read."""

    @property
    def reasons_to_fail(self) -> tuple[str, ...]:
        """Errors that would stop training."""
        return tuple(
            f"{finding.kind} ({' and '.join(finding.splits)})" for finding in self.findings if finding.level == "error"
        )


def examine(
    config: DataConfig,
    *,
    quick: bool,
    on_progress: Callable[[int, int], None],
    splits: tuple[Split, ...] = BOTH,
) -> Report:
    """Check all annotations and images of a config.

    Args:
        config: the datasets, and the training settings that affect them.
        quick: read only the headers of images, and do not compare their content.
        splits: what to check; `train` alone where there is no validation set.
        on_progress: called with the number of images done and the number of all images.

    Raises:
        ConfigError: a setting is empty, or names a file, folder, split or class that does not exist.
    """
    handlers: dict[Split, ErrorHandler] = {split: ErrorHandler(collect=True) for split in splits}
    opened: dict[Split, Dataset] = {}
    for split in splits:
        with handlers[split]:
            # Whole, because the tiles of an image share its file.
            opened[split] = open_datasets(dataclasses.replace(config, tile=0), split, errors=handlers[split])
    used = dict(opened)
    if "train" in used:
        with handlers["train"]:
            used["train"] = cut_into_tiles(opened["train"], config)
    findings = [*_errors(handlers), *_remarks(handlers)]
    for split, dataset in opened.items():
        findings += [*_repairs(handlers[split].repairs, dataset, split), *findings_of_split(used[split], split, config)]
    if opened.keys() == set(BOTH):
        findings += [*_different_classes(opened), *findings_between(opened["train"], opened["val"])]
    images = [(split, record) for split, dataset in opened.items() for record in dataset.records]
    checks = check_images(images, quick=quick, num_threads=config.num_threads, on_progress=on_progress)
    findings += image_findings(checks, config.broken_images)
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))
    statistics = {split: measure(dataset, config.input_size) for split, dataset in used.items()}
    return Report(tuple(findings), statistics)


def _errors(handlers: dict[Split, ErrorHandler]) -> list[Finding]:
    """Return the findings of errors. Entries that both splits read, such as the XML files of VOC, count once."""
    splits_of: dict[tuple[str, str], list[Split]] = {}
    for split in handlers:
        for error in handlers[split].collected:
            for text in error.each:
                splits_of.setdefault((error.kind, text), []).append(split)
    advice = "Training cannot start before they are corrected or removed."
    return [
        finding
        for (kind, splits), cases in _by_splits(splits_of).items()
        for finding in finding_if_any(kind, splits, "error", advice, cases)
    ]


def _remarks(handlers: dict[Split, ErrorHandler]) -> list[Finding]:
    """Return the findings of entries that are written oddly and read as meant."""
    splits_of: dict[tuple[RemarkKind, str], list[Split]] = {}
    for split, handler in handlers.items():
        for kind, texts in handler.remarks.items():
            for text in texts:
                splits_of.setdefault((kind, text), []).append(split)
    return [
        finding
        for (kind, splits), cases in _by_splits(splits_of).items()
        for finding in finding_if_any(kind.name, splits, kind.level, kind.advice, cases)
    ]


def _by_splits(splits_of: dict[tuple[Kind, str], list[Split]]) -> dict[tuple[Kind, tuple[Split, ...]], list[Case]]:
    """Collect the texts of each kind that concern the same splits."""
    cases: dict[tuple[Kind, tuple[Split, ...]], list[Case]] = {}
    for (kind, text), splits in splits_of.items():
        cases.setdefault((kind, tuple(dict.fromkeys(splits))), []).append(Case(text))
    return cases


def _repairs(repairs: Sequence[Repair], dataset: Dataset, split: Split) -> list[Finding]:
    records = {record.path: record for record in dataset.records}
    used = [entry for entry in repairs if entry.path in records]  # `fraction` may have dropped the others
    findings = []
    for kind in dict.fromkeys(entry.kind for entry in used):
        entries = [entry for entry in used if entry.kind == kind]
        if kind == PARTLY_OUTSIDE:
            entries.sort(key=lambda entry: -_overhang(entry, records[entry.path]))
        level, advice = _EFFECT_OF_REPAIR[kind]
        if kind == PARTLY_OUTSIDE and _overhang(entries[0], records[entries[0].path]) <= HARMLESS_OVERHANG_PX:
            level = "note"
        cases = [_case_of_repair(entry, records) for entry in entries]
        findings += finding_if_any(kind, (split,), level, advice, cases)
    return findings


def _overhang(entry: Repair, record: Record) -> float:
    x1, y1, x2, y2 = entry.box_xyxy
    return max(-x1, -y1, x2 - record.width, y2 - record.height)


def _case_of_repair(entry: Repair, records: dict[Path, Record]) -> Case:
    record, (x1, y1, x2, y2) = records[entry.path], entry.box_xyxy
    text = f"{entry.where}: from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) in an image of {record.width}x{record.height} px"
    return Case(text, (record,), (entry.box_xyxy,))


def _different_classes(opened: dict[Split, Dataset]) -> list[Finding]:
    try:
        check_same_classes(opened["train"], opened["val"])
    except DataError as error:
        advice = "Training does not start, because the network has one list of classes for both."
        return finding_if_any(error.kind, BOTH, "error", advice, [Case(str(error))])
    return []


def measure(dataset: Dataset, input_size: tuple[int, int]) -> Statistics:
    """Return the statistics of a dataset; `input_size` is the height and width in px that images are resized to fit."""
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
