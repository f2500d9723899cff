"""The published YOLOX-nano on 100 images of COCO, for everything that claims to give its detections."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scored_sets import score
from yolox_jax.data.image import read_image
from yolox_jax.data.letterbox import evaluation_image
from yolox_jax.data.sources.coco import read_coco

SIZE = (416, 416)
SCORE_THRESHOLD, IOU_THRESHOLD, MAX_DETECTIONS = 0.01, 0.65, 1000
AP = 0.3096
"""Of the original (`coco_val2017_100_nano_detections.npz`)."""
BATCH = 20

Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Boxes [B, K, 4] in px of the images, scores [B, K], classes [B, K], count [B]."""


class Published(NamedTuple):
    """What came out for the 100 images."""

    ap: float
    rows: np.ndarray
    """Place of the image, x1, y1, x2, y2, score, class of each detection, best first for each image."""


def detections_on_coco(shared: Path, detect: Callable[[np.ndarray, np.ndarray], Found]) -> Published:
    """Letterboxed batches and their ratios through `detect`, and the AP of what it finds."""
    folder = shared / "data/coco_val2017_100"
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    rows, results = [], []
    for start in range(0, len(dataset.records), BATCH):
        records = dataset.records[start : start + BATCH]
        images, ratios = zip(*(evaluation_image(read_image(record.path), SIZE) for record in records), strict=True)
        boxes, scores, classes, count = detect(np.stack(images), np.array(ratios, np.float32))
        for place, record in enumerate(records):
            number = int(count[place])
            found = zip(boxes[place][:number], scores[place][:number], classes[place][:number], strict=True)
            for box, value, label in found:
                rows.append([start + place, *box, value, label])
                results.append(
                    {
                        "image_id": record.image_id,
                        "category_id": dataset.category_ids[int(label)],
                        "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
                        "score": float(value),
                    }
                )
    metrics = score(dataset, results)
    return Published(float(metrics.figures["AP"] or 0.0), np.array(rows))


def assert_same_detections(found: Published, expected: Published, *, box_px: float = 0.1) -> None:
    """AP to 0.0005 of the original's; boxes to some px of those expected, but for the few at the score threshold."""
    assert abs(found.ap - AP) < 0.0005
    assert abs(len(found.rows) - len(expected.rows)) <= 0.002 * len(expected.rows)
    missed = 0
    for row in expected.rows:
        near = found.rows[(found.rows[:, 0] == row[0]) & (found.rows[:, 6] == row[6])]
        missed += not (
            (np.abs(near[:, 1:5] - row[1:5]) < box_px).all(axis=1) & (np.abs(near[:, 5] - row[5]) < 1e-3)
        ).any()
    # Rounding moves a score across the threshold, or an overlap across that of the suppression, now and then.
    assert missed <= 0.002 * len(expected.rows), f"{missed} of {len(expected.rows)}"
