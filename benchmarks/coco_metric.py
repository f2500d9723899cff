"""Compares the scoring time of pycocotools and hotcoco on as many images and objects as COCO val2017 has.

Images, objects and detections are synthetic. Each implementation starts from the arrays that an evaluation collects;
they run in turn. faster-coco-eval is timed beside them if it is installed, and so are the error analysis and the other
contents of a report.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from rich.console import Console
from rich.table import Table

from common import describe_run, write_json
from yolox_jax.config import Config
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.evaluation.analysis import analyse
from yolox_jax.evaluation.coco_scorers import accumulate
from yolox_jax.evaluation.results import ScoredBoxes
from yolox_jax.evaluation.runner import evaluate_results

NUM_CLASSES = 80
HEIGHT_PX, WIDTH_PX = 480, 640


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    parser = argparse.ArgumentParser(
        prog="coco_metric.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000, help="number of images")
    parser.add_argument("--objects", type=int, default=36000, help="number of annotated objects")
    parser.add_argument("--detections", type=int, default=150, help="detections per image")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args(argv)

    dataset, results = make_set(arguments.images, arguments.objects, arguments.detections)
    evaluation = evaluate_results(dataset, results)
    scored = dataset.ground_truth, evaluation.image_ids, evaluation.found
    parts: dict[str, Callable[[], Any]] = {
        "pycocotools": lambda: accumulate(*scored, fast=False).stats,
        "hotcoco": lambda: accumulate(*scored, fast=True).stats,
        "analysis": lambda: analyse(evaluation, dataset, config=Config(), weights=""),
    }
    if importlib.util.find_spec("faster_coco_eval") is not None:
        parts["faster-coco-eval"] = lambda: score_with_faster_coco_eval(*scored)
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    found: dict[str, Any] = {}
    for number in range(arguments.rounds):
        for name, run in parts.items():
            start = time.perf_counter()
            found[name] = run()
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number + 1} of {arguments.rounds}: {name} {seconds[name][-1]:.2f} s", flush=True)
    difference = float(np.abs(found["pycocotools"] - found["hotcoco"]).max())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    table = Table(
        "", "seconds", "relative to pycocotools", title=f"{len(results)} detections in {arguments.images} images"
    )
    for name, median in medians.items():
        table.add_row(name, f"{median:.2f}", f"{median / medians['pycocotools']:.3f}")
    Console().print(table)
    print(f"largest difference in the twelve figures: {difference:.1e}")
    if arguments.output is not None:
        result = describe_run(("yolox-jax", "pycocotools", "hotcoco", "faster-coco-eval", "numpy"))
        result |= {"images": arguments.images, "objects": arguments.objects, "detections": arguments.detections}
        write_json(arguments.output, result | {"seconds": seconds, "median_s": medians, "difference": difference})


def score_with_faster_coco_eval(
    ground_truth: dict[str, Any], image_ids: list[int], found: ScoredBoxes
) -> Float64[np.ndarray, " 12"]:
    """The twelve COCO figures."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO({**ground_truth, "annotations": [dict(annotation) for annotation in ground_truth["annotations"]]})
    evaluator = COCOeval_faster(truth, truth.loadRes(found.to_results()), "bbox", print_function=lambda *_: None)
    evaluator.params.imgIds = image_ids
    evaluator.run()
    return np.asarray(evaluator.stats[:12], np.float64)


def make_set(num_images: int, num_objects: int, detections: int) -> tuple[Dataset, list[dict[str, Any]]]:
    """Return objects with class and size distributions as uneven as COCO's, and detections near them and elsewhere."""
    rng = np.random.default_rng(0)
    of_class = rng.dirichlet(np.full(NUM_CLASSES, 0.5))
    sides = np.exp(rng.normal(4, 1, (num_objects, 2))).clip(4, 400)
    corners = rng.uniform(0, 1, (num_objects, 2)) * np.maximum([WIDTH_PX, HEIGHT_PX] - sides, 0)
    annotations: list[dict[str, Any]] = [
        {
            "id": number + 1,
            "image_id": int(image),
            "category_id": int(category),
            "bbox": [*map(float, corner), *map(float, size)],
            "area": float(size.prod()),
            "iscrowd": int(rng.uniform() < 0.01),
        }
        for number, (image, category, corner, size) in enumerate(
            zip(
                rng.integers(1, num_images + 1, num_objects),
                rng.choice(NUM_CLASSES, num_objects, p=of_class) + 1,
                corners,
                sides,
                strict=True,
            )
        )
    ]
    by_image: dict[int, list[dict[str, Any]]] = {image: [] for image in range(1, num_images + 1)}
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)
    results = []
    for image, objects in by_image.items():
        for number in range(detections):
            if number < 5 * len(objects):
                target = objects[number % len(objects)]
                box = (np.array(target["bbox"]) * rng.uniform(0.8, 1.2, 4)).tolist()
                category = target["category_id"] if rng.uniform() < 0.8 else int(rng.integers(1, NUM_CLASSES + 1))
                value = rng.beta(2, 2)
            else:
                box = [*rng.uniform(0, 400, 2).tolist(), *rng.uniform(5, 200, 2).tolist()]
                category, value = int(rng.integers(1, NUM_CLASSES + 1)), rng.beta(1, 6)
            results.append({"image_id": image, "category_id": category, "bbox": box, "score": float(value)})
    names = [str(category) for category in range(1, NUM_CLASSES + 1)]
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    dataset = Dataset(
        name="made up",
        class_names=tuple(names),
        category_ids=tuple(range(1, NUM_CLASSES + 1)),
        records=tuple(Record(Path(f"{image}.jpg"), image, HEIGHT_PX, WIDTH_PX, *nothing) for image in by_image),
        ground_truth={
            "images": [{"id": image, "height": HEIGHT_PX, "width": WIDTH_PX} for image in by_image],
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        },
        warnings=(),
    )
    return dataset, results


if __name__ == "__main__":
    main(sys.argv[1:])
