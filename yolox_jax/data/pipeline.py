"""Batches for training and evaluation. No other file imports grain.

The content of a batch depends on nothing but the config, the dataset and the step. The stream is therefore the same
for any number of threads and workers, and a run that resumes at any step sees the batches it would have seen.
"""

import contextlib
import gc
import logging
import sys
import weakref
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import grain
import numpy as np

from yolox_jax.config import Config
from yolox_jax.data.batch_form import empty_batch
from yolox_jax.data.cache.pixel_cache import PixelCache
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.hooks import NO_HOOKS, Hooks
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import evaluation_image, padding_of
from yolox_jax.data.pixel_format import BGR8
from yolox_jax.data.process_settings import LOADING_SETTINGS
from yolox_jax.data.training_source import HostBatch as HostBatch
from yolox_jax.data.training_source import TrainingSource
from yolox_jax.data.worker_processes import explained, fits_shared_memory, start_worker

logger = logging.getLogger("yolox_jax.data")


class TrainingBatches(Iterator[HostBatch]):
    """The batches of a run, in order. Close it, or use it in a `with` statement, to stop its threads and workers."""

    def __init__(
        self,
        batches: Iterator[dict[str, Any]],
        broken_images: Literal["skip", "stop"],
        settings: contextlib.ExitStack,
    ) -> None:
        """Take over the settings of the process, which closing restores, as garbage collection does at the latest."""
        self._batches = batches
        self._broken_images = broken_images
        self._restore_settings = weakref.finalize(self, settings.close)
        self.broken: dict[str, str] = {}
        """Path and error of every broken image so far."""
        self.num_dropped = 0
        """Objects beyond `data.max_boxes` of their image so far, which were not trained on."""

    def __next__(self) -> HostBatch:
        try:
            batch = dict(next(self._batches))
        except (RuntimeError, OSError) as error:
            explanation = explained(error)
            if explanation is error:
                raise
            raise explanation from None
        self.num_dropped += batch.pop("dropped")
        for path, reason in batch.pop("broken"):
            report_broken(BrokenImage(Path(path), reason), self._broken_images, self.broken)
        return batch

    def __enter__(self) -> "TrainingBatches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop loading and restore the settings of the process. The iterator is then exhausted."""
        try:
            if hasattr(self._batches, "close"):
                self._batches.close()
        finally:
            # Batches that workers made ahead are in shared memory, which is freed when they are collected.
            self._batches = iter(())
            gc.collect()
            self._restore_settings()


def training_batches(
    dataset: Dataset,
    config: Config,
    *,
    start_step: int = 0,
    rows: range | None = None,
    cache: PixelCache | None = None,
    hooks: Hooks = NO_HOOKS,
) -> TrainingBatches:
    """Load the batches for the steps from `start_step` to the end of the run.

    While the batches are open, OpenCV uses one thread in this process.

    Args:
        dataset: the training images.
        config: the seed, batch size, epochs and data settings of the run.
        start_step: number of steps already done.
        rows: rows of each batch that this process loads; by default all. The rows of several hosts together make up
            the batch that one host would load.
        cache: decoded images from `open_cache`; None decodes the image files.
        hooks: the user's own augmentation.

    Returns:
        An iterator of dicts: images uint8 [B, H, W, 3] BGR, boxes float32 [B, G, 4] (cx, cy, w, h in px), classes int32
        [B, G], valid bool [B, G]. Other `data.channels` and `data.bits` than 3 and 8 give images uint8 or uint16
        [B, H, W, channels]. With `data.augment.on device`, the fields of `SampleSources` are in place of the images.

    Raises:
        ValueError: `rows` have a part of a group of rows that share their images on the device.
        BrokenImage: while iterating, if an image cannot be read and `data.broken_images` is `stop`.
        DataError: while iterating, if no image can be read, a hook fails, or a worker process dies.
    """
    rows = range(config.train.batch_size) if rows is None else rows
    source = TrainingSource(dataset, config, rows, cache, hooks)
    batches = grain.MapDataset.source(source)[start_step:]
    workers = min(config.data.num_workers, len(batches))
    # A worker loads in its main thread: a single further thread would only compete with it for a core.
    threads = 0 if workers and config.data.num_threads == 1 else config.data.num_threads
    stream = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    if workers:
        batch_bytes = sum(array.nbytes for array in empty_batch(config.data, len(rows)).values())
        if not fits_shared_memory(batch_bytes, workers):
            # An array below this size, which is any, is passed through a pipe.
            options = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
            stream = grain.experimental.WithOptionsIterDataset(stream, options)
        # Each item is a batch, so each worker loads whole batches.
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=start_worker)
    with contextlib.ExitStack() as settings:
        settings.enter_context(LOADING_SETTINGS)
        return TrainingBatches(iter(stream), config.data.broken_images, settings.pop_all())


def load_training_batch(
    dataset: Dataset,
    config: Config,
    step: int,
    rows: range,
    cache: PixelCache | None = None,
    hooks: Hooks = NO_HOOKS,
) -> tuple[HostBatch, list[str]]:
    """Load the batch of one step again, identical to the one from `training_batches`.

    Args:
        dataset: the training images.
        config: of the run.
        step: counts from 0.
        rows: rows of the batch to load.
        cache: decoded images, as for `training_batches`.
        hooks: the user's own augmentation.

    Returns:
        The batch, and the paths of the images that it was made from.

    Raises:
        ValueError: `rows` have a part of a group of rows that share their images on the device.
        BrokenImage: an image cannot be read, and `data.broken_images` is `stop`.
        DataError: no image can be read.
    """
    loaded = TrainingSource(dataset, config, rows, cache, hooks).load(step)
    reported: dict[str, str] = {}
    for error in loaded.broken:
        report_broken(error, config.data.broken_images, reported)
    return loaded.batch, loaded.paths


def evaluation_batches(
    dataset: Dataset,
    input_size: tuple[int, int],
    batch_size: int,
    *,
    indices: Sequence[int] | None = None,
    broken_images: Literal["skip", "stop"] = "skip",
    num_threads: int = 4,
) -> Generator[HostBatch, None, None]:
    """Load every image once, in order, letterboxed as in the original's evaluation (docs/yolox.md, 9.1).

    Args:
        dataset: the images.
        input_size: height and width of the network input in px.
        batch_size: images per batch; the last batch is padded.
        indices: positions in `dataset.records` of the images to load. Defaults to all images.
        broken_images: `skip` logs the path of a broken image and leaves its row empty; `stop` raises.
        num_threads: threads that load images.

    Yields:
        Dicts: images uint8 [B, H, W, 3] BGR, or in the format of the records, ratios float32 [B] to divide detected
        boxes by, indices int32 [B] into `dataset.records`. Empty rows are grey, with ratio 1 and index -1.

    Raises:
        BrokenImage: an image cannot be read, and `broken_images` is `stop`.
    """
    reported: dict[str, str] = {}
    indices = range(len(dataset.records)) if indices is None else indices
    with LOADING_SETTINGS, ThreadPoolExecutor(num_threads) as pool:
        firsts = range(0, len(indices), batch_size)
        pixels = dataset.records[indices[0]].pixels if len(indices) else BGR8
        batches = (
            [
                pool.submit(_load_for_evaluation, dataset.records[index], input_size)
                for index in indices[first : first + batch_size]
            ]
            for first in firsts
        )
        loading = next(batches, [])
        for first in firsts:
            pending, loading = loading, next(batches, [])  # the next batch loads while the caller uses this one
            batch: HostBatch = {
                "images": np.full((batch_size, *input_size, pixels.channels), padding_of(pixels.dtype), pixels.dtype),
                "ratios": np.ones(batch_size, np.float32),
                "indices": np.full(batch_size, -1, np.int32),
            }
            for row, future in enumerate(pending):
                try:
                    batch["images"][row], batch["ratios"][row] = future.result()
                    batch["indices"][row] = indices[first + row]
                except BrokenImage as error:
                    report_broken(error, broken_images, reported)
            yield batch


def _load_for_evaluation(record: Record, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    return evaluation_image(load_image(record), size)


def report_broken(error: BrokenImage, policy: Literal["skip", "stop"], reported: dict[str, str]) -> None:
    """Log a broken image unless it is in `reported`, or raise the error if the policy is to stop."""
    if policy == "stop":
        advice = "Replace the file, or pass --data.broken-images skip to continue without it."
        raise BrokenImage(error.path, error.why, advice=advice) from error
    if str(error.path) not in reported:
        reported[str(error.path)] = error.why
        logger.warning("skipped %s: %s", error.path, error.why)
