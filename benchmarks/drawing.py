"""Measures what is left to the host when the device draws the training samples (docs/data.md, drawing on the device).

Loads batches with samples drawn by the host and by the device, with partners from the dataset and from the batch, with
a cache in memory and without, each on one core with one thread, in alternating rounds. The original's loader takes part
if `pixeltable-yolox` is installed.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2

from batch_streams import BatchStream, Cache, print_speeds, run_rounds
from common import CHECKOUT, describe_run, pin, ratio, spread, write_json
from original_package import HOW_TO_INSTALL, is_installed
from original_yolox import open_original
from yolox_jax.config import Config, ConfigError, DataConfig, DatasetConfig
from yolox_jax.config.files import load_config
from yolox_jax.data.batch_form import empty_batch
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import open_dataset

SIDES: tuple[Literal["host", "device"], ...] = ("host", "device")
"""Where samples are drawn."""
PACKAGES = ("yolox-jax", "numpy", "opencv-python-headless", "grain", "pixeltable-yolox", "torch")


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    pin(arguments.cores)
    cv2.setNumThreads(0)
    result = describe_run(PACKAGES)
    dataset = open_dataset(DatasetConfig(images=arguments.images, annotations=arguments.annotations), "train")
    with_original = not arguments.no_original and is_installed()
    if not with_original and not arguments.no_original:
        print(f"the original: skipped, it is not installed here ({HOW_TO_INSTALL})")
    with contextlib.ExitStack() as stack:
        ours = [
            _open(stack, dataset, _config(arguments, cache, on, partners))
            for cache, on, partners in itertools.product(arguments.caches, SIDES, arguments.partners)
        ]
        caches = arguments.caches if with_original else []
        originals = [_open_original(stack, dataset, _config(arguments, cache)) for cache in caches]
        run_rounds([*ours, *originals], arguments.rounds, arguments.batches, arguments.batch_size)
    print_speeds(f"On cores {arguments.cores}", [*ours, *originals])
    figures = _ratios(ours, originals)
    result |= {
        "settings": {"images": len(dataset.records), "batch_size": arguments.batch_size, "input_size": arguments.size},
        "pipelines": [one.to_json() for one in (*ours, *originals)],
        "ratios": figures,
    }
    if arguments.output is not None:
        write_json(arguments.output, result)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    folder = Path(os.environ.get("YOLOX_JAX_SHARED", CHECKOUT.parent / "shared")) / "data" / "coco_val2017_100"
    parser = argparse.ArgumentParser(
        prog="drawing.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", default=f"{folder}/images", help="folder of images")
    parser.add_argument("--annotations", default=f"{folder}/instances.json", help="their annotations, a COCO file")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 640), help="height and width of the input in px")
    parser.add_argument("--caches", nargs="+", choices=["none", "ram"], default=["none", "ram"], help="to measure")
    parser.add_argument("--partners", nargs="+", choices=["dataset", "batch"], default=["dataset", "batch"])
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0))[:1], help="to use")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement")
    parser.add_argument("--batches", type=int, default=6, help="batches per stream and round")
    parser.add_argument("--batch-size", type=int, default=16, help="images per batch")
    parser.add_argument("--no-original", action="store_true", help="do not measure the original")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    return parser.parse_args(argv)


def _ratios(ours: Sequence[BatchStream], originals: Sequence[BatchStream]) -> list[dict[str, Any]]:
    """The speed of our streams relative to the default and to the original, each with the same cache. Prints them."""
    figures = []
    for one in ours:
        default = next(other for other in ours if other.cache == one.cache)
        for than, other in [("the default", default), *(("the original", other) for other in originals)]:
            if other is one or other.cache != one.cache:
                continue
            gain = ratio(other.cpu_ms, one.cpu_ms)
            print(f"cache {one.cache}, {one.name}: {spread(gain, 1)} times the images per CPU second of {than}")
            figures.append({"cache": one.cache, "name": one.name, "relative_to": than, "images_per_cpu_s": gain})
    return figures


def _config(
    arguments: argparse.Namespace,
    cache: Cache,
    on: Literal["host", "device"] = "host",
    partners: Literal["dataset", "batch"] = "dataset",
) -> Config:
    """The default recipe for practically unlimited epochs, all of them augmented."""
    config = load_config("yolox_s")
    augment = dataclasses.replace(config.data.augment, on=on, partners=partners)
    size = (arguments.size[0], arguments.size[1])
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, augment=augment, input_size=size, cache=cache, num_threads=1),
        schedule=dataclasses.replace(config.schedule, epochs=100_000, no_aug_epochs=0),
        train=dataclasses.replace(config.train, batch_size=arguments.batch_size),
    )


def _open(stack: contextlib.ExitStack, dataset: Dataset, config: Config) -> BatchStream:
    """A stream of our batches, with its cache filled."""
    filled = stack.enter_context(open_cache(dataset.records, config.data))
    batches = stack.enter_context(training_batches(dataset, config, cache=filled))
    augment = config.data.augment
    name = f"{augment.on}, partners from the {augment.partners}, {_sent_mb(config.data):.2f} MB"
    return BatchStream(name, "1 thread", config.data.cache, batches, (), ahead=2)


def _open_original(stack: contextlib.ExitStack, dataset: Dataset, config: Config) -> BatchStream:
    """A stream of the original's batches, with its cache filled."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    cache = config.data.cache
    batches = open_original(dataset, config, folder, ram_cache=cache == "ram")
    return BatchStream("original", "1 process", cache, batches, (), ahead=1)


def _sent_mb(config: DataConfig) -> float:
    """The size of a sample as it is sent to the device."""
    arrays: dict[str, Any] = empty_batch(config, 1)
    return float(sum(array.nbytes for array in arrays.values())) / 1e6


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")
