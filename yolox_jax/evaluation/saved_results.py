"""Detections that were saved as COCO results, by this program or another."""

from pathlib import Path
from typing import Any

from yolox_jax.data.sources.dataset import DataError
from yolox_jax.data.sources.json_file import read_json
from yolox_jax.evaluation.coco_scorers import Result

KEYS: dict[str, tuple[type, ...]] = {"image_id": (int,), "category_id": (int,), "bbox": (list,), "score": (int, float)}


def read_results(path: Path) -> list[Result]:
    """Read a JSON list of detections: image_id, category_id, bbox (x, y, width, height in px), score.

    Raises:
        DataError: the file cannot be read, or an entry is no such detection; the message names it.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} holds no list of detections, as evaluate.py --detections writes it")
    return [_result(entry, f"{path}: detection {place}") for place, entry in enumerate(content)]


def _result(entry: Any, where: str) -> Result:
    for key, kind in KEYS.items():
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"{where}: {key} is {value!r}, which is missing or of the wrong type")
    box = entry["bbox"]
    if len(box) != 4 or not all(isinstance(side, int | float) and not isinstance(side, bool) for side in box):
        raise DataError(f"{where}: bbox is {box!r}; it must be [x, y, width, height] in px")
    return {key: entry[key] for key in KEYS}
