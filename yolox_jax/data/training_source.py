"""The batches of a run as a function of the step, whatever loads them."""

from typing import Any, NamedTuple

import numpy as np

from yolox_jax.config import Config
from yolox_jax.data.augment.source_pool import SourcePool, check_rows
from yolox_jax.data.augment.sources import sources_of_row
from yolox_jax.data.batch_form import empty_batch
from yolox_jax.data.cache.pixel_cache import PixelCache
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.hooks import Hooks, check_drawing
from yolox_jax.data.image import BrokenImage
from yolox_jax.data.image_order import ImageOrder, steps_per_epoch
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.partners import Group, Partners, SharedImages, rows_of_group
from yolox_jax.data.pixel_format import pixel_format
from yolox_jax.data.sample import make_sample, new_canvases

HostBatch = dict[str, np.ndarray]
"""A batch in host memory; see `training_batches` and `evaluation_batches` for its keys."""


class LoadedBatch(NamedTuple):
    """The rows of a batch, and what happened while they were loaded."""

    batch: HostBatch
    paths: list[str]
    """Of the images that were loaded."""
    broken: list[BrokenImage]
    """Errors of the images that were replaced by others."""
    num_dropped: int
    """Objects beyond `data.max_boxes` of their image."""


class _Place(NamedTuple):
    """Where a row of a batch is in the stream of images."""

    image: int
    """Index of the image that the sample is built around."""
    pass_number: int
    position: int


class TrainingSource:
    """Random access to the batches of a run, as grain wants it: item `step` is the batch of that step, or its rows."""

    def __init__(self, dataset: Dataset, config: Config, rows: range, cache: PixelCache | None, hooks: Hooks) -> None:
        """Prepare to load `rows` of each batch; the arguments are those of `training_batches`."""
        check_drawing(hooks, config.data.augment)
        check_rows(config, rows)
        self._records = records = dataset.records
        self._num_classes = len(dataset.class_names)
        self._hooks = hooks
        self._config = config
        self._rows = rows
        self._cache = cache
        self._steps_per_epoch = steps_per_epoch(records, config)
        self._order = ImageOrder(records, config.data.repeat_threshold, config.seed)

    def __len__(self) -> int:
        return self._config.schedule.epochs * self._steps_per_epoch

    def __getitem__(self, step: int) -> dict[str, Any]:
        loaded = self.load(step)
        reasons = {str(error.path): error.why for error in loaded.broken}
        return {**loaded.batch, "broken": list(reasons.items()), "dropped": loaded.num_dropped}

    def load(self, step: int) -> LoadedBatch:
        """Load the rows of the batch of `step`, counted from 0."""
        config = self._config
        batch = empty_batch(config.data, len(self._rows))
        canvases = new_canvases(config.data.input_size, pixel_format(config.data))
        mosaic = step // self._steps_per_epoch < config.schedule.epochs - config.schedule.no_aug_epochs
        paths: list[str] = []
        broken: list[BrokenImage] = []
        num_dropped, group, pool = 0, None, None
        for row, row_of_batch in enumerate(self._rows):
            place = self._place(step, row_of_batch)
            partners: Partners = self._order.pass_at(place.pass_number)
            cache: PixelCache | SharedImages | None = self._cache
            if mosaic and config.data.augment.partners == "batch":
                if group is None or row_of_batch not in group.rows:
                    group = self._group(step, row_of_batch)
                    if config.data.augment.on == "device":
                        pool = SourcePool(batch["sources"][row : row + len(group.rows), 0])
                partners = group.partners_of(row_of_batch)
                cache = group.shared if cache is None else cache
            loader = ImageLoader(self._records, cache)
            if config.data.augment.on == "host":
                out = batch["images"][row]
            else:
                out = sources_of_row(batch, row, pool, row_of_batch - group.rows.start if group else 0)
            targets = make_sample(
                place.image,
                loader,
                partners,
                mosaic=mosaic,
                config=config.data,
                # position + 1, because NumPy treats the seeds (a, b) and (a, b, 0) alike.
                seed=(config.seed, place.pass_number, place.position + 1),
                canvases=canvases,
                out=out,
                hooks=self._hooks,
                num_classes=self._num_classes,
            )
            batch["boxes"][row], batch["classes"][row], batch["valid"][row] = targets[:3]
            num_dropped += targets.num_dropped
            paths += loader.loaded
            broken += loader.broken.values()
        return LoadedBatch(batch, paths, broken, num_dropped)

    def _place(self, step: int, row: int) -> _Place:
        pass_number, position = divmod(step * self._config.train.batch_size + row, self._order.length)
        return _Place(int(self._order.pass_at(pass_number).order[position]), pass_number, position)

    def _group(self, step: int, row: int) -> Group:
        """Return the group of a row, with nothing loaded yet."""
        config = self._config
        rows = rows_of_group(row, config.train.batch_size, config.data.augment.partner_group)
        images = [self._place(step, one).image for one in rows]
        return Group(rows, images, self._records, config.data.input_size)
