"""Builds annotations in COCO layout for datasets of other formats."""

from collections.abc import Mapping, Sequence
from typing import Any

from yolox_jax.data.dataset import Record


def ground_truth_of(
    records: Sequence[Record], categories: Mapping[int, str], ignored: Sequence[Record] = ()
) -> dict[str, Any]:
    """Return the boxes of records in COCO layout.

    Args:
        records: the images and their objects.
        categories: class names by category id, in the order of the classes.
        ignored: records whose objects become crowds, so that detections of them count neither way.
    """
    ids = list(categories)
    annotations: list[dict[str, Any]] = []
    for group, crowd in ((records, 0), (ignored, 1)):
        for record in group:
            for (x1, y1, x2, y2), label in zip(record.boxes.tolist(), record.classes.tolist(), strict=True):
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": record.image_id, "category_id": ids[label],
                     "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": crowd}
                )  # fmt: skip
    return coco_layout(rows_of(records), annotations, categories)


def rows_of(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the image entries of the COCO layout."""
    return [
        {"id": record.image_id, "file_name": record.path.name, "height": record.height, "width": record.width}
        for record in records
    ]


def coco_layout(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: Mapping[int, str]
) -> dict[str, Any]:
    """Return a dict in COCO layout as pycocotools reads it (it needs `info`); `categories` are names by id."""
    return {
        "info": {},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": category, "name": name} for category, name in categories.items()],
    }
