"""Small datasets and detections to score."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.evaluation.coco import CocoMetrics
from yolox_jax.evaluation.errors import Errors, sort_errors
from yolox_jax.evaluation.results import from_results
from yolox_jax.evaluation.runner import evaluate_results

CATEGORY_IDS = (3, 7, 9)
NAMES = ("cat", "dog", "owl")


def dataset_of(
    objects: Sequence[tuple[int, int, list[float]]], image_ids: Sequence[int], crowds: Collection[int] = ()
) -> Dataset:
    """Of (image id, class, [x, y, w, h]); `crowds` are indices of those that are crowds."""
    no_boxes, no_classes = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    annotations = [
        {
            "id": index + 1,
            "image_id": image_id,
            "category_id": CATEGORY_IDS[class_index],
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": int(index in crowds),
        }
        for index, (image_id, class_index, bbox) in enumerate(objects)
    ]
    return Dataset(
        name="test",
        class_names=NAMES,
        category_ids=CATEGORY_IDS,
        records=tuple(Record(Path(f"{i}.jpg"), i, 480, 640, no_boxes, no_classes) for i in image_ids),
        ground_truth={
            "images": [{"id": i, "file_name": f"{i}.jpg", "height": 480, "width": 640} for i in image_ids],
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, NAMES, strict=True)],
        },
        warnings=(),
    )


def make_dataset(objects: dict[int, list[tuple[int, list[float]]]]) -> Dataset:
    """Dataset from {image id: [(class, [x, y, w, h]), ...]}."""
    return dataset_of([(image_id, *item) for image_id, items in objects.items() for item in items], list(objects))


def score(dataset: Dataset, results: list[dict], **settings: Any) -> CocoMetrics:
    """The figures alone; `settings` are those of `evaluate_results`."""
    return evaluate_results(dataset, results, **settings).metrics


def errors_of(dataset: Dataset, results: list[dict], **settings: Any) -> Errors:
    """The errors of COCO results; `settings` are those of `sort_errors`."""
    return sort_errors(dataset, from_results(results), **settings)


def result_of(image_id: int, class_index: int, bbox: list[float], value: float) -> dict:
    return {"image_id": image_id, "category_id": CATEGORY_IDS[class_index], "bbox": bbox, "score": value}


def random_set(seed: int) -> tuple[Dataset, list[dict]]:
    """A small dataset and results with whatever is rare in real ones."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    # Sides of which products lie at the limits between the areas, 32 and 96 squared.
    sides = [1.0, 16.0, 32.0, 64.0, 96.0, 144.0, 200.5]

    def box() -> list[float]:
        return [*rng.integers(0, 40, 2).tolist(), rng.choice(sides), rng.choice(sides)]

    objects = {
        image_id: [(int(rng.integers(num_classes)), box()) for _ in range(rng.integers(0, 6))]
        for image_id in rng.choice(50, num_images, replace=False).tolist()
    }
    dataset = make_dataset(objects)
    for annotation in dataset.ground_truth["annotations"]:
        annotation["iscrowd"] = int(rng.uniform() < 0.2)
    near = [annotation["bbox"] for annotation in dataset.ground_truth["annotations"]] or [box()]
    results = [
        result_of(
            int(rng.choice(list(objects))),
            int(rng.integers(num_classes)),
            (np.array(near[rng.integers(len(near))]) + rng.choice([0.0, 2.0, 9.5], 4)).tolist(),
            float(rng.choice([0.2, 0.5, 0.5001, 0.9])),  # ties among them
        )
        for _ in range(rng.choice([0, 1, 10, 130]))
    ]
    return dataset, results
