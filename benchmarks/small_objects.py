"""Trains YOLOX-nano with and without a level of stride 4 on small generated shapes, with several seeds.

The shapes of the built-in dataset are drawn large and shrunk to 64x64 px: two to eight objects of 2 to 26 px an image,
their median 13 px. Backbone and neck start from the published weights and all heads from random ones, so that no level
has a head start. Augmentation and batch size are those of configs/quickstart.py, with an input of the size of the
images. Writes AP, AP50 and AP_small of each run to the JSON file given by --output.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common import describe_run, write_json
from yolox_jax import create_model, load_config, summarize, train
from yolox_jax.config import STRIDES, Config
from yolox_jax.config.schedule import scale_schedule
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.sources.python_items import make_dataset
from yolox_jax.data.sources.shapes import CLASS_NAMES, draw_scene
from yolox_jax.weights import export_state_dict, load_state_dict, published_weights, read_weights, save_weights

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy")
SIDE_PX, SHRINK = 64, 5
LEVELS = {"three_levels": STRIDES, "with_stride_4": (4, *STRIDES)}
METRICS = ("AP", "AP50", "AP_small")


def main(argv: Sequence[str]) -> None:
    """Trains and reports; `argv` is the command line without the program name."""
    parser = argparse.ArgumentParser(
        prog="small_objects.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of each network (default: 0 1 2)"
    )
    parser.add_argument("--epochs", type=int, default=9, help="epochs of each run (default: 9)")
    parser.add_argument("--train-images", type=int, default=400, help="number of training images (default: 400)")
    parser.add_argument("--val-images", type=int, default=200, help="number of validation images (default: 200)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results")
    arguments = parser.parse_args(argv)
    result = describe_run(PACKAGES) | {"epochs": arguments.epochs}
    train_set, val_set = (
        small_shapes(count, stream) for stream, count in enumerate((arguments.train_images, arguments.val_images))
    )
    sides = np.concatenate([record.boxes[:, 2:] - record.boxes[:, :2] for record in train_set.records]).max(axis=1)
    result["longest_side_px"] = dict(
        zip(("p10", "p50", "p90"), np.percentile(sides, (10, 50, 90)).round(1), strict=True)
    )
    networks = {name: _network(strides, arguments.epochs) for name, strides in LEVELS.items()}
    for seed in arguments.seeds:
        for name, strides in LEVELS.items():
            metrics = _trained(_config(strides, arguments.epochs, seed), train_set, val_set)
            networks[name]["seeds"].append({"seed": seed, **metrics})
            print(f"{name}, seed {seed}: {json.dumps(metrics)}", flush=True)
        for network in networks.values():
            network["mean"] = {metric: statistics.fmean(one[metric] for one in network["seeds"]) for metric in METRICS}
        # After each seed, so that a study that is stopped leaves what it has.
        write_json(arguments.output, result | {"networks": networks})


def _network(strides: tuple[int, ...], epochs: int) -> dict[str, Any]:
    """What a network costs, and room for its results."""
    summary = summarize(create_model(_config(strides, epochs, 0).model, len(CLASS_NAMES)), (SIDE_PX, SIDE_PX))
    return {"strides": strides, "parameters": summary.parameters, "gflops": round(summary.gflops, 4), "seeds": []}


def small_shapes(count: int, stream: int) -> Dataset:
    """Generate images of small shapes; each stream has other ones."""
    items = []
    for number in range(count):
        picture, objects = draw_scene(np.random.default_rng((0, stream, number)), SIDE_PX * SHRINK)
        image = cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        boxes = np.array([box for _, box in objects], np.float32).reshape(-1, 4) / SHRINK
        items.append((image, boxes, np.array([label for label, _ in objects], np.int32)))
    return make_dataset(items, CLASS_NAMES, name=f"small shapes {stream}")


def _config(strides: tuple[int, ...], epochs: int, seed: int) -> Config:
    """The quickstart with these levels and a smaller learning rate, evaluated after the last epoch alone."""
    base = load_config("quickstart")
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, strides=strides, rescale_filters=True),
        data=dataclasses.replace(base.data, input_size=(SIDE_PX, SIDE_PX)),
        schedule=scale_schedule(dataclasses.replace(base.schedule, no_aug_epochs=1), epochs),
        optimizer=dataclasses.replace(base.optimizer, lr_per_image=0.01 / 8),
        train=dataclasses.replace(base.train, loggers=(), keep_checkpoints=1),
        evaluation=dataclasses.replace(base.evaluation, interval=epochs, losses=False, num_pictures=0),
        seed=seed,
    )


def _without_trained_head(seed: int) -> dict[str, np.ndarray]:
    """The published weights of three levels, with a random head."""
    model = create_model("yolox_nano", len(CLASS_NAMES), seed=seed)
    published = read_weights(published_weights("yolox_nano")).state_dict
    load_state_dict(model, {name: array for name, array in published.items() if "head." not in name}, strict=False)
    return export_state_dict(model)


def _trained(config: Config, train_set: Dataset, val_set: Dataset) -> dict[str, float]:
    """Metrics of the last evaluation of a run, and the seconds it took."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "start.safetensors"
        save_weights(weights, _without_trained_head(config.seed), {})
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, weights=str(weights)))
        log = train(config, workdir=Path(folder) / "run", train_set=train_set, val_set=val_set).metrics()
    last = [record for record in log if record["kind"] == "evaluation"][-1]
    return {**{name: round(last[name], 4) for name in METRICS}, "seconds": round(time.monotonic() - start, 1)}


if __name__ == "__main__":
    main(sys.argv[1:])
