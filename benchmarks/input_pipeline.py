"""Measures the speed of the input pipeline, the time of each stage and the scaling with cores.

Where no cache is used, partners of mosaics and MixUp from the dataset are compared with those from the batch.
The original's loader is measured for comparison if `pixeltable-yolox` is installed. Both use one core, one process, the
same images, input size and probabilities, and no OpenCV threads. All measurements run in alternating rounds, so that
other load on the machine affects all of them alike.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from batch_streams import BatchStream, Cache, Partners, print_speeds, print_stages, run_rounds
from common import CHECKOUT, describe_run, pin, ratio, settle, spread, summary, write_json
from original_package import HOW_TO_INSTALL, is_installed
from original_yolox import open_original, original_stages
from stage_times import OPENCV_STAGES, Stage
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import open_datasets

PACKAGES = (
    "yolox-jax",
    "jax",
    "numpy",
    "opencv-python-headless",
    "grain",
    "pixeltable-yolox",
    "torch",
)
ORIGINALS_CACHE: dict[Cache, bool] = {"none": False, "ram": True, "disk": True}
"""Whether the original caches in memory when compared with each of our caches. Its disk cache does not work."""

OWN_FLAGS = {
    "--caches": "--data.cache",
    "--partners": "--data.augment.partners",
    "--workers": "--data.num-workers",
    "--threads": "--data.num-threads",
    "--batch-size": "--train.batch-size",
}
"""Config settings that this script's own flags set."""


@dataclasses.dataclass(frozen=True)
class NoFlags:
    """Adds no flags: the benchmark parses its own separately."""


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    arguments, config = _parse(argv)
    pin(arguments.cores)
    cv2.setNumThreads(0)
    result = describe_run(PACKAGES)
    dataset = open_datasets(config.data, "train")
    config = _endless(config, arguments)
    result["settings"] = {
        "config": arguments.config or "yolox_s",
        "data": dataset.name,
        "images": len(dataset.records),
        "input_size": list(config.data.input_size),
        "batch_size": config.train.batch_size,
        "augment": dataclasses.asdict(config.data.augment),
        "cores": arguments.cores,
        "workers": arguments.workers,
        "threads": arguments.threads,
    }
    print(f"{len(dataset.records)} images of {dataset.name}, cores {arguments.cores}: {arguments.rounds} rounds")
    result.update(_compare(dataset, config, arguments))
    if len(arguments.scaling_cores) == 2:
        result["scaling"] = _scale(dataset, config, arguments)
    else:
        print("scaling: skipped, because it needs two cores")
    if arguments.output is not None:
        write_json(arguments.output, result)


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    available = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="input_pipeline.py",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Any other flag is a setting of the config, such as --data.train.images DIR --data.train.annotations "
        "FILE, --data.input-size 416 416 or --data.augment.mixup-probability 0; `yolox-jax train --config CONFIG "
        "--help` lists them. Without --config and settings: YOLOX-s at 640 on the COCO images in "
        "../shared/data/coco_val2017_100 (or $YOLOX_JAX_SHARED/data). "
        f"To measure the original too: {HOW_TO_INSTALL}",
        allow_abbrev=False,
    )
    parser.add_argument("--config", help="config file or shipped name whose data and augmentation are used")
    parser.add_argument(
        "--caches",
        nargs="+",
        choices=list(ORIGINALS_CACHE),
        default=["none", "ram"],
        help="caches to measure",
    )
    parser.add_argument(
        "--partners",
        nargs="+",
        choices=["dataset", "batch"],
        default=["dataset", "batch"],
        help="where the partners of mosaics and MixUp come from, to measure without a cache",
    )
    parser.add_argument("--workers", type=int, default=0, help="worker processes (stages are timed only with 0)")
    parser.add_argument("--threads", type=int, default=1, help="loading threads per process")
    parser.add_argument("--cores", type=int, nargs="+", default=available[:1], help="cores for the comparison")
    parser.add_argument(
        "--scaling-cores", type=int, nargs="*", default=available[:2], help="two cores; pass no value to skip scaling"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement")
    parser.add_argument("--batches", type=int, default=12, help="batches per stream and round")
    parser.add_argument("--batch-size", type=int, default=8, help="images per batch")
    parser.add_argument("--no-original", action="store_true", help="do not measure the original")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments, settings = parser.parse_known_args(argv)
    unknown = sorted({*arguments.cores, *arguments.scaling_cores} - set(available))
    if unknown:
        parser.error(f"cores {unknown} are not available; this process may use {available}")
    for own, setting in OWN_FLAGS.items():
        if any(word.partition("=")[0] == setting for word in settings):
            parser.error(f"{setting} cannot be set directly; use {own}")
    data = [] if arguments.config else _default_data(settings)
    config_flags = ["--config", arguments.config or "yolox_s", *data, *settings]
    _, config = parse_with_config(NoFlags, config_flags, prog="input_pipeline.py", description="Settings.")
    return arguments, config


def _default_data(settings: Sequence[str]) -> list[str]:
    if any(setting.startswith("--data.train.") for setting in settings):
        return []
    folder = Path(os.environ.get("YOLOX_JAX_SHARED", CHECKOUT.parent / "shared")) / "data" / "coco_val2017_100"
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist: set the images with --config or --data.train... (see --help)")
    return ["--data.train.images", f"{folder}/images", "--data.train.annotations", f"{folder}/instances.json"]


def _endless(config: Config, arguments: argparse.Namespace) -> Config:
    """Return the config with practically unlimited epochs, all of them augmented."""
    return dataclasses.replace(
        config,
        schedule=dataclasses.replace(config.schedule, epochs=100_000, no_aug_epochs=0),
        train=dataclasses.replace(config.train, batch_size=arguments.batch_size),
    )


def _compare(dataset: Dataset, config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    with_original = not arguments.no_original and is_installed()
    if not with_original and not arguments.no_original:
        print(f"the original: skipped, it is not installed here ({HOW_TO_INSTALL})")
    with contextlib.ExitStack() as stack:
        any_partners: list[Partners] = ["dataset"]  # with a cache, partners make no difference
        ours: list[BatchStream] = [
            _open_ours(stack, dataset, _with_partners(config, partners), arguments.workers, arguments.threads, cache)
            for cache in arguments.caches
            for partners in (arguments.partners if cache == "none" else any_partners)
        ]
        originals: list[BatchStream] = []
        if with_original:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for cached in dict.fromkeys(ORIGINALS_CACHE[cache] for cache in arguments.caches):
                batches = open_original(dataset, config, folder / f"cached_{cached}", ram_cache=cached)
                cache: Cache = "ram" if cached else "none"
                originals.append(BatchStream("original", "1 process", cache, batches, original_stages(), 1))
        streams = [*ours, *originals]
        run_rounds(streams, arguments.rounds, arguments.batches, arguments.batch_size)
        if arguments.workers == 0:
            for stream in streams:
                settle()
                stream.measure_stages(arguments.batches, arguments.batch_size)
        transfer = _transfer_ms(next(ours[0].batches)["images"])
    ratios: list[dict[str, Any]] = [
        {
            "ours": one.cache,
            "partners": one.partners,
            "original": other.cache,
            "images_per_s": ratio(one.rates, other.rates),
            "images_per_cpu_s": ratio(other.cpu_ms, one.cpu_ms),
        }
        for one, other in itertools.product(ours, originals)
        if (other.cache == "ram") == ORIGINALS_CACHE[one.cache]
    ]
    print_speeds(f"On cores {arguments.cores}", streams)
    for one in ratios:
        print(
            f"cache {one['ours']}, partners from the {one['partners']} / original's {one['original']}: "
            f"{spread(one['images_per_s'], 2)} times the images per second, {spread(one['images_per_cpu_s'], 2)} times "
            "the images per CPU second"
        )
    print_stages(streams)
    print(f"transfer of a batch to {transfer['device']}: {transfer['ms_per_image']['median']:.2f} ms per image")
    return {"pipelines": [one.to_json() for one in streams], "ratios": ratios, "transfer": transfer}


def _with_partners(config: Config, partners: Partners) -> Config:
    augment = dataclasses.replace(config.data.augment, partners=partners)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, augment=augment))


def _scale(dataset: Dataset, config: Config, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare one and two loading threads, and one and two processes, on two otherwise idle cores."""
    pin(arguments.scaling_cores)
    results = []
    with contextlib.ExitStack() as stack:
        pairs = {
            "threads": [_open_ours(stack, dataset, config, 0, count, "none") for count in (1, 2)],
            "processes": [_open_ours(stack, dataset, config, count, 1, "none") for count in (1, 2)],
        }
        streams = [one for pair in pairs.values() for one in pair]
        # Two are about twice as fast, so twice the batches keep a round as long as in `_compare`.
        run_rounds(streams, arguments.rounds, 2 * arguments.batches, arguments.batch_size)
    print_speeds(f"On cores {arguments.scaling_cores}, otherwise idle", streams)
    for kind, (single, double) in pairs.items():
        gain = ratio(double.rates, single.rates)
        print(f"speedup from two {kind}: {spread(gain, 2)} times")
        results.append({"kind": kind, "one": single.to_json(), "two": double.to_json(), "ratio": gain})
    return results


def _open_ours(
    stack: contextlib.ExitStack, dataset: Dataset, config: Config, workers: int, threads: int, cache: Cache
) -> BatchStream:
    """Open a stream of our batches, with its cache filled."""
    data = dataclasses.replace(config.data, num_workers=workers, num_threads=threads, cache=cache)
    config = dataclasses.replace(config, data=data)
    filled = stack.enter_context(open_cache(dataset.records, config.data))
    batches = stack.enter_context(training_batches(dataset, config, cache=filled))
    loaded_by = _counted(threads, "thread")
    if workers:
        loaded_by = f"{_counted(workers, 'process', 'processes')} with {loaded_by} each"
    stages = (Stage(Record, "encoded", "read"), *OPENCV_STAGES)
    # Each thread has one batch ready, and each process four more (observed with grain 0.2.18).
    ahead = workers * (threads + 5) if workers else threads + 1
    return BatchStream("ours", loaded_by, cache, batches, stages, ahead, partners=config.data.augment.partners)


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _transfer_ms(images: Any) -> dict[str, Any]:
    """Measure the transfer of a batch's images to the first JAX device."""
    import jax

    times = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(jax.device_put(images))
        times.append(1000 * (time.perf_counter() - start) / len(images))
    return {"device": jax.devices()[0].device_kind, "ms_per_image": summary(times[1:])}


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ConfigError, DataError) as error:
        sys.exit(f"error: {error}")
