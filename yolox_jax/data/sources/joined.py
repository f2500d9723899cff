"""Joins datasets, and takes a fraction or some classes of one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from yolox_jax.config import ConfigError
from yolox_jax.config.serialization import nearest
from yolox_jax.data.dataset import MAX_LISTED_NAMES, Dataset, Record
from yolox_jax.data.sources.ground_truth import coco_layout
from yolox_jax.text import counted, shortened


def join(parts: Sequence[Dataset]) -> Dataset:
    """Join datasets. Classes of the same name are merged and ordered by first appearance.

    Category ids and image ids are kept unless an earlier dataset uses them; then they are raised.
    """
    if len(parts) == 1:
        return parts[0]
    categories = _joined_categories(parts)
    names = list(categories)
    records: list[Record] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    warnings: list[str] = []
    used: set[int] = set()
    for part in parts:
        ids = {row["id"] for row in part.ground_truth["images"]}
        raised = max(used) + 1 - min(ids, default=0) if used & ids else 0
        used |= {key + raised for key in ids}
        if raised:
            warnings.append(f"{part.name}: raised image ids by {raised}, because another dataset has the same")
        warnings += [f"{part.name}: {warning}" for warning in part.warnings]
        to_class = np.array([names.index(name) for name in part.class_names], np.int32)
        to_category = {old: categories[name] for old, name in zip(part.category_ids, part.class_names, strict=True)}
        records += [
            dataclasses.replace(record, image_id=record.image_id + raised, classes=to_class[record.classes])
            for record in part.records
        ]
        images += [{**row, "id": row["id"] + raised} for row in part.ground_truth["images"]]
        annotations += [
            {**entry, "image_id": entry["image_id"] + raised, "category_id": to_category[entry["category_id"]]}
            for entry in part.ground_truth["annotations"]
        ]
    return Dataset(
        name=" + ".join(part.name for part in parts),
        class_names=tuple(names),
        category_ids=tuple(categories.values()),
        records=tuple(records),
        ground_truth=_ground_truth(images, annotations, categories),
        warnings=tuple(warnings),
    )


def take_share(dataset: Dataset, fraction: float) -> Dataset:
    """Take a fraction of the images, at least one, spread evenly over the dataset."""
    count = len(dataset.records)
    kept = max(round(fraction * count), 1)
    if kept >= count:  # also true for an empty dataset
        return dataset
    records = tuple(dataset.records[place * count // kept] for place in range(kept))
    ids = {record.image_id for record in records}
    truth = dataset.ground_truth
    ground_truth = {
        **truth,
        "images": [row for row in truth["images"] if row["id"] in ids],
        "annotations": [entry for entry in truth["annotations"] if entry["image_id"] in ids],
    }
    return dataclasses.replace(dataset, records=records, ground_truth=ground_truth)


def select_classes(dataset: Dataset, names: Sequence[str], *, all_required: bool) -> Dataset:
    """Keep some classes of a dataset, in the given order. All images stay, without the objects of other classes.

    Args:
        dataset: all of it.
        names: classes to keep.
        all_required: raise for a class that the dataset does not have; otherwise it is a class without objects.

    Raises:
        ConfigError: a class is named twice, or does not exist.
    """
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--data.classes names {name!r} twice. Name every class once.")
        if all_required and name not in dataset.class_names:
            raise ConfigError(
                f"--data.classes: {dataset.name} has no class {name!r}{nearest(name, dataset.class_names)} It has "
                f"{shortened(dataset.class_names, MAX_LISTED_NAMES)}"
            )
    known = dict(zip(dataset.class_names, dataset.category_ids, strict=True))
    free = max(known.values(), default=0) + 1
    categories: dict[str, int] = {}
    for name in names:
        categories[name] = known.get(name, free)
        free += name not in known
    # -1 marks the classes to drop.
    to_class = np.array([names.index(name) if name in categories else -1 for name in known], np.int32)
    records = tuple(_with_classes(record, to_class) for record in dataset.records)
    left_out = sum(len(record.boxes) for record in dataset.records) - sum(len(record.boxes) for record in records)
    boxes = counted(left_out, "box", "boxes")
    warnings = [f"ignored {boxes} of classes that --data.classes does not name"] if left_out else []
    absent = [name for name in names if name not in known]
    if absent:
        warnings.append(f"{dataset.name} has no class {', '.join(absent)}, which --data.classes names")
    kept = set(categories.values())
    annotations = [entry for entry in dataset.ground_truth["annotations"] if entry["category_id"] in kept]
    return dataclasses.replace(
        dataset,
        class_names=tuple(names),
        category_ids=tuple(categories.values()),
        records=records,
        ground_truth=_ground_truth(dataset.ground_truth["images"], annotations, categories),
        warnings=(*dataset.warnings, *warnings),
    )


def _with_classes(record: Record, to_class: np.ndarray) -> Record:
    classes = to_class[record.classes]
    return dataclasses.replace(record, boxes=record.boxes[classes >= 0], classes=classes[classes >= 0])


def _joined_categories(parts: Sequence[Dataset]) -> dict[str, int]:
    """Return the category id of each class by name, in the order of first appearance."""
    categories: dict[str, int] = {}
    highest = max((category for part in parts for category in part.category_ids), default=0)
    for part in parts:
        for name, category in zip(part.class_names, part.category_ids, strict=True):
            if name in categories:
                continue
            if category in categories.values():
                highest += 1
                category = highest
            categories[name] = category
    return categories


def _ground_truth(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: dict[str, int]
) -> dict[str, Any]:
    # pycocotools needs unique annotation ids.
    numbered = [{**entry, "id": number} for number, entry in enumerate(annotations, start=1)]
    return coco_layout(images, numbered, {category: name for name, category in categories.items()})
