"""Batches for training and evaluation; the only file that knows grain.

What a batch holds follows from the config, the data set and the number of the step alone, so the stream is the same
for any number of threads and processes, and a run that resumes at any step sees what it would have seen.
"""

import functools
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import grain
import numpy as np
from absl import flags
from jaxtyping import Int64

from yolox_jax.config import Config
from yolox_jax.data.cache.pixel_cache import PixelCache
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import PADDING, evaluation_image
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.sample import make_sample, new_canvases

HostBatch = dict[str, np.ndarray]

logger = logging.getLogger("yolox_jax.data")


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Steps that make up one epoch: enough to see as many images as there are."""
    return -(-num_images // batch_size)


@functools.lru_cache(maxsize=4)
def _order(seed: int, pass_number: int, num_images: int) -> Int64[np.ndarray, " N"]:
    """The order of the images in one pass over them."""
    return np.random.default_rng((seed, pass_number)).permutation(num_images)


class _TrainingSource:
    """Random access to the batches of a run: item `step` is the batch of that step, or some rows of it."""

    def __init__(self, records: Sequence[Record], config: Config, rows: range, cache: PixelCache | None) -> None:
        self._records = records
        self._config = config
        self._rows = rows
        self._cache = cache
        self._steps_per_epoch = steps_per_epoch(len(records), config.train.batch_size)
        self._with_objects = np.flatnonzero([len(record.boxes) > 0 for record in records])

    def __len__(self) -> int:
        return self._config.schedule.epochs * self._steps_per_epoch

    def __getitem__(self, step: int) -> dict[str, Any]:
        batch, loaders, dropped = self.load(step)
        broken = {str(error.path): error.why for loader in loaders for error in loader.broken.values()}
        return {**batch, "broken": list(broken.items()), "dropped": dropped}

    def load(self, step: int) -> tuple[HostBatch, list[ImageLoader], int]:
        """The batch of `step`, what each image was loaded with, and the number of objects that found no slot."""
        config, count = self._config, len(self._records)
        batch = _empty_batch(config, len(self._rows))
        canvases = new_canvases(config.data.input_size)
        mosaic = step // self._steps_per_epoch < config.schedule.epochs - config.schedule.no_aug_epochs
        loaders = [ImageLoader(self._records, self._cache) for _ in self._rows]
        dropped = 0
        for row, (place_in_batch, loader) in enumerate(zip(self._rows, loaders, strict=True)):
            pass_number, place = divmod(step * config.train.batch_size + place_in_batch, count)
            targets = make_sample(
                int(_order(config.seed, pass_number, count)[place]),
                loader,
                self._with_objects,
                mosaic=mosaic,
                config=config.data,
                # place + 1, because NumPy takes the seeds (a, b) and (a, b, 0) for the same.
                seed=(config.seed, pass_number, place + 1),
                canvases=canvases,
                out=batch["images"][row],
            )
            batch["boxes"][row], batch["classes"][row], batch["valid"][row] = targets[:3]
            dropped += targets.num_dropped
        return batch, loaders, dropped


def _empty_batch(config: Config, images: int) -> HostBatch:
    slots = config.data.max_boxes
    return {
        "images": np.empty((images, *config.data.input_size, 3), np.uint8),
        "boxes": np.empty((images, slots, 4), np.float32),
        "classes": np.empty((images, slots), np.int32),
        "valid": np.empty((images, slots), bool),
    }


class TrainingBatches(Iterator[HostBatch]):
    """The batches of a run, in order; close it, or use it in a `with`, to stop its threads and processes."""

    def __init__(self, batches: Iterator[dict[str, Any]], broken_images: Literal["skip", "stop"]) -> None:
        self._batches = batches
        self._broken_images = broken_images
        self.broken: dict[str, str] = {}
        """Path and fault of every broken image met so far."""
        self.num_dropped = 0
        """Objects that found no slot in their image so far."""

    def __next__(self) -> HostBatch:
        batch = dict(next(self._batches))
        self.num_dropped += batch.pop("dropped")
        for path, why in batch.pop("broken"):
            _report_broken(BrokenImage(Path(path), why), self._broken_images, self.broken)
        return batch

    def __enter__(self) -> "TrainingBatches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop loading. Nothing can be read afterwards."""
        if hasattr(self._batches, "close"):
            self._batches.close()
        # Batches that processes made ahead lie in shared memory, which is given back as they are collected.
        self._batches = iter(())
        gc.collect()


def training_batches(
    dataset: Dataset,
    config: Config,
    *,
    start_step: int = 0,
    rows: range | None = None,
    cache: PixelCache | None = None,
) -> TrainingBatches:
    """Batches for the steps from `start_step` to the end of the run.

    Args:
        dataset: the training images.
        config: of the run: seed, batch size, epochs, data.
        start_step: number of steps already done.
        rows: images of each batch that this process loads; by default all. The rows of several processes put together
            are the batch of one.
        cache: of the images, as `open_cache` gives it; None decodes their files.

    Returns:
        An iterator of dicts: images uint8 [B, H, W, 3] BGR, boxes float32 [B, G, 4] cx cy w h px, classes int32
        [B, G], valid bool [B, G].

    Raises:
        BrokenImage: while iterating, an unreadable image, if `data.broken_images` is `stop`.
        DataError: while iterating, no image can be read.
    """
    cv2.setNumThreads(0)
    rows = range(config.train.batch_size) if rows is None else rows
    source = _TrainingSource(dataset.records, config, rows, cache)
    batches = grain.MapDataset.source(source)[start_step:]
    workers = min(config.data.num_workers, len(batches))
    # A process has a thread already, which would fight a single other one for its core.
    threads = 0 if workers and config.data.num_threads == 1 else config.data.num_threads
    stream = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain reads absl flags, which nobody parses here
        # Items are whole batches, so a slice for each process deals out whole batches too.
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_start_worker)
    return TrainingBatches(iter(stream), config.data.broken_images)


def load_training_batch(
    dataset: Dataset, config: Config, step: int, rows: range, cache: PixelCache | None = None
) -> tuple[HostBatch, list[str]]:
    """The batch of one step once more, as `training_batches` gives it, and the paths of the images that it is made of.

    Arguments as for `training_batches`; `step` counts from 0. Broken images are reported as there.

    Raises:
        BrokenImage: an unreadable image, if `data.broken_images` is `stop`.
        DataError: no image can be read.
    """
    batch, loaders, _ = _TrainingSource(dataset.records, config, rows, cache).load(step)
    seen: dict[str, str] = {}
    for error in (error for loader in loaders for error in loader.broken.values()):
        _report_broken(error, config.data.broken_images, seen)
    return batch, [path for loader in loaders for path in loader.loaded]


def _start_worker(index: int, count: int) -> None:
    """Keep a loading process to one thread for each image, off the accelerators, and just as long as its run."""
    # A terminal and Slurm send these to all processes; it is the run that decides when to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_the_run, daemon=True).start()
    cv2.setNumThreads(0)
    os.environ["JAX_PLATFORMS"] = "cpu"
    # grain imports jax, which has read the environment by now; nothing here ever calls it.
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")


def _exit_with_the_run() -> None:
    """A run that is killed cannot close its loading processes; they would wait for it for ever."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)


def _report_broken(error: BrokenImage, policy: Literal["skip", "stop"], seen: dict[str, str]) -> None:
    if policy == "stop":
        way_out = "Replace the file, or set --data.broken-images skip to go on without it."
        raise BrokenImage(error.path, error.why, way_out=way_out) from error
    if str(error.path) not in seen:
        seen[str(error.path)] = error.why
        logger.warning("%s: %s; skipped", error.path, error.why)


def evaluation_batches(
    dataset: Dataset,
    input_size: tuple[int, int],
    batch_size: int,
    *,
    indices: Sequence[int] | None = None,
    broken_images: Literal["skip", "stop"] = "skip",
    num_threads: int = 4,
) -> Iterator[HostBatch]:
    """Every image once, in order, letterboxed as in the original's evaluation (SPEC A3.9).

    Args:
        dataset: the images.
        input_size: height and width of the network input in px.
        batch_size: images a batch; the last batch is padded to it.
        indices: places in `dataset.records` of the images wanted; all by default.
        broken_images: `skip` logs the name of a broken image and leaves its place empty; `stop` raises.
        num_threads: threads that load images.

    Yields:
        Dicts: images uint8 [B, H, W, 3] BGR, ratios float32 [B] to divide boxes by, indices int32 [B] into
        `dataset.records`. Places that hold no image are grey, with ratio 1 and index -1.

    Raises:
        BrokenImage: an unreadable image, if `broken_images` is `stop`.
    """
    cv2.setNumThreads(0)
    seen: dict[str, str] = {}
    indices = range(len(dataset.records)) if indices is None else indices
    with ThreadPoolExecutor(num_threads) as pool:
        firsts = range(0, len(indices), batch_size)
        batches = (
            [
                pool.submit(_load_for_evaluation, dataset.records[index], input_size)
                for index in indices[first : first + batch_size]
            ]
            for first in firsts
        )
        loading = next(batches, [])
        for first in firsts:
            pending, loading = loading, next(batches, [])  # the next batch loads while this one is used
            batch: HostBatch = {
                "images": np.full((batch_size, *input_size, 3), PADDING, np.uint8),
                "ratios": np.ones(batch_size, np.float32),
                "indices": np.full(batch_size, -1, np.int32),
            }
            for row, future in enumerate(pending):
                try:
                    batch["images"][row], batch["ratios"][row] = future.result()
                    batch["indices"][row] = indices[first + row]
                except BrokenImage as error:
                    _report_broken(error, broken_images, seen)
            yield batch


def _load_for_evaluation(record: Record, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    return evaluation_image(load_image(record), size)
