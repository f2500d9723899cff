"""A tiny dataset in COCO layout that tests can corrupt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_jax.config import DatasetConfig

BOXES = ([[10, 10, 20, 20], [40.5, 8, 16, 30]], [[5, 6, 40, 20]], [], [[20, 20, 24, 24]], [[1, 2, 30, 40]])


@pytest.fixture
def coco_content() -> dict[str, Any]:
    """Five images of 64x48 px (the third without objects), categories with ids out of order."""
    annotations = [(image, box) for image, boxes in enumerate(BOXES) for box in boxes]
    return {
        "images": [{"id": 10 + n, "file_name": f"sub/{n}.jpg", "height": 48, "width": 64} for n in range(len(BOXES))],
        "annotations": [
            {
                "id": 100 + n,
                "image_id": 10 + image,
                "category_id": (7, 3)[n % 2],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for n, (image, box) in enumerate(annotations)
        ],
        "categories": [{"id": 7, "name": "kite"}, {"id": 3, "name": "apple"}],
    }


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[dict[str, Any]], DatasetConfig]:
    """Writes annotations and images made of noise, and gives the settings that lead there."""

    def write(content: dict[str, Any]) -> DatasetConfig:
        (tmp_path / "images" / "sub").mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for number in range(len(BOXES)):
            picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / "sub" / f"{number}.jpg"), picture)
        (tmp_path / "instances.json").write_text(json.dumps(content))
        return DatasetConfig(images=str(tmp_path / "images"), annotations=str(tmp_path / "instances.json"))

    return write
