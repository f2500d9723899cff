"""Large images glued from smaller ones, each at the scale at which the network sees it alone."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image import read_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.sources.coco import read_coco


def single_and_glued(folder: Path, output: Path, cell_px: int, columns: int) -> tuple[Dataset, Dataset]:
    """The images of a COCO folder resized to fit cells, as one dataset, and glued in squares of cells, as another.

    Written to `output`. Boxes are scaled with their images and shifted to their cells, so both have the same objects.
    """
    source = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    annotations: dict[int, list[dict[str, Any]]] = {}
    for annotation in source.ground_truth["annotations"]:
        annotations.setdefault(annotation["image_id"], []).append(annotation)
    single, glued = output / "single", output / "glued"
    parts: dict[Path, dict[str, list]] = {path: {"images": [], "annotations": []} for path in (single, glued)}
    for path in parts:
        path.mkdir(parents=True)
    canvas = np.zeros(0, np.uint8)
    for number, record in enumerate(source.records):
        cell, ratio = letterbox(read_image(record.path), (cell_px, cell_px))
        place, slot = divmod(number, columns**2)
        row, column = divmod(slot, columns)
        if slot == 0:
            canvas = np.full((columns * cell_px, columns * cell_px, 3), 114, np.uint8)
        top, left = row * cell_px, column * cell_px
        canvas[top : top + cell_px, left : left + cell_px] = cell
        for path, image, index, corner in ((single, cell, number, (0, 0)), (glued, canvas, place, (left, top))):
            cv2.imwrite(str(path / f"{index}.png"), image)
            listed = parts[path]
            if index == len(listed["images"]):
                size = {"height": image.shape[0], "width": image.shape[1]}
                listed["images"].append({"id": index, "file_name": f"{index}.png", **size})
            for one in annotations.get(record.image_id, []):
                x, y, width, height = (value * ratio for value in one["bbox"])
                listed["annotations"].append(
                    {
                        "id": len(listed["annotations"]) + 1,
                        "image_id": index,
                        "category_id": one["category_id"],
                        "bbox": [x + corner[0], y + corner[1], width, height],
                        "area": one["area"] * ratio**2,
                        "iscrowd": one["iscrowd"],
                    }
                )
    datasets = []
    for path, listed in parts.items():
        (path / "instances.json").write_text(json.dumps({**listed, "categories": source.ground_truth["categories"]}))
        datasets.append(read_coco(path, path / "instances.json", setting="--data.val"))
    return datasets[0], datasets[1]
