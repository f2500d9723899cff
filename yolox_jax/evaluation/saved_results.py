"""Detections that were saved as COCO results, by this program or another."""

from pathlib import Path
from typing import Any

from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.json_file import is_number, read_json
from yolox_jax.evaluation.coco_scorers import Result

KEYS = ("image_id", "category_id", "bbox", "score")


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
    if not isinstance(entry, dict):
        raise DataError(f"{where} is {entry!r}; it must be an object with {', '.join(KEYS)}")
    image_id, category_id, box, score = (entry.get(key) for key in KEYS)
    for key, value in (("image_id", image_id), ("category_id", category_id)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"{where}: {key} is {value!r}; it must be a whole number")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise DataError(f"{where}: bbox is {box!r}; it must be [x, y, width, height] in px")
    if not is_number(score):
        raise DataError(f"{where}: score is {score!r}; it must be a number")
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
