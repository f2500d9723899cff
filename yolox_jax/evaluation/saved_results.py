"""Reads detections saved as COCO results by this package or another program."""

from pathlib import Path
from typing import Any

from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.json_file import is_number, read_json
from yolox_jax.evaluation.results import Result

KEYS = ("image_id", "category_id", "bbox", "score")


def read_results(path: Path) -> list[Result]:
    """Read a JSON list of detections: image_id, category_id, bbox (x, y, width, height in px), score.

    Raises:
        DataError: the file cannot be read, or an entry is malformed; the message names it.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} must contain a list of detections, as evaluate.py --detections writes it.")
    return [_result(entry, f"{path}: detection {index}") for index, entry in enumerate(content)]


def _result(entry: Any, where: str) -> Result:
    if not isinstance(entry, dict):
        raise DataError(f"{where} must be an object with {', '.join(KEYS)}; got {entry!r}.")
    image_id, category_id, box, score = (entry.get(key) for key in KEYS)
    for key, value in (("image_id", image_id), ("category_id", category_id)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"{where}: {key} must be an integer; got {value!r}.")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise DataError(f"{where}: bbox must be [x, y, width, height] in px; got {box!r}.")
    if not is_number(score):
        raise DataError(f"{where}: score must be a number; got {score!r}.")
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
