"""What the host sends when the device draws the samples: the same stream however it is loaded."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, Config, ConfigError, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.config.checks import check_config
from yolox_jax.data import open_dataset
from yolox_jax.data.augment.source_pool import check_whole_groups
from yolox_jax.data.batch_form import batch_form
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.hooks import Hooks
from yolox_jax.data.pipeline import load_training_batch, training_batches
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.step.drawing import images_of

CONFIG = Config(
    data=DataConfig(input_size=(64, 64), max_boxes=6, num_threads=2, augment=AugmentConfig(on="device")),
    schedule=ScheduleConfig(epochs=3, no_aug_epochs=1),
    train=TrainConfig(batch_size=2),
    seed=5,
)  # five images, so three steps an epoch, nine in all
Batches = list[dict[str, np.ndarray]]


@pytest.fixture
def dataset(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> Dataset:
    return open_dataset(write_coco(coco_content), "train")


def _run(dataset: Dataset, config: Config, **options: Any) -> Batches:
    with training_batches(dataset, config, **options) as batches:
        return list(batches)


def _assert_equal(left: Batches, right: Batches) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert set(a) == set(b)
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def _on_host(config: Config) -> Config:
    augment = replace(config.data.augment, on="host")
    return replace(config, data=replace(config.data, augment=augment))


def test_stream_is_the_same_for_any_start_or_host(dataset: Dataset) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, repeat_threshold=1.0))
    whole = _run(dataset, config)
    _assert_equal(whole[4:], _run(dataset, config, start_step=4))
    hosts = [_run(dataset, config, rows=rows) for rows in (range(0, 1), range(1, 2))]
    _assert_equal(whole, [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)])
    for batch, expected in zip(whole, _run(dataset, _on_host(config)), strict=True):
        for key in ("boxes", "classes", "valid"):
            np.testing.assert_array_equal(batch[key], expected[key])


def test_caches_in_memory_and_on_disk_give_the_same_stream(dataset: Dataset, tmp_path: Any) -> None:
    streams = []
    for kind in ("ram", "disk"):
        config = replace(CONFIG, data=replace(CONFIG.data, cache=kind, cache_dir=str(tmp_path / "cache")))
        with open_cache(dataset.records, config.data) as cache:
            streams.append(_run(dataset, config, cache=cache))
    _assert_equal(*streams)


def test_a_broken_image_is_replaced_as_on_the_host(dataset: Dataset) -> None:
    path = dataset.records[1].path
    path.write_bytes(path.read_bytes()[:-200])
    with training_batches(dataset, CONFIG) as batches:
        found = list(batches)
        assert list(batches.broken) == [str(path)]
    for batch, expected in zip(found, _run(dataset, _on_host(CONFIG)), strict=True):
        np.testing.assert_array_equal(batch["boxes"], expected["boxes"])


def test_nothing_is_sent_of_images_that_are_not_seen(dataset: Dataset) -> None:
    for batch in _run(dataset, CONFIG):
        for sources, windows in zip(batch["sources"], batch["windows"], strict=True):
            for image, (x1, y1, x2, y2) in zip(sources, windows, strict=True):
                assert image[y1:y2, x1:x2].sum() == image.sum()
                assert (x2 > x1) == bool(image.any())


def _shared(config: Config, batch_size: int = 8, group: int = 4) -> Config:
    augment = replace(config.data.augment, partners="batch", partner_group=group)
    train = replace(config.train, batch_size=batch_size)
    return replace(config, data=replace(config.data, augment=augment), train=train)


def test_samples_of_a_group_share_their_images_whatever_loads_them(dataset: Dataset) -> None:
    config = _shared(CONFIG)
    whole = _run(dataset, config)
    assert whole[0]["sources"].shape == (8, 1, 64, 64, 3) and whole[0]["members"].shape == (8, 5)
    hosts = [_run(dataset, config, rows=rows) for rows in (range(0, 4), range(4, 8))]
    _assert_equal(whole, [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)])
    _assert_equal(whole, _run(dataset, replace(config, data=replace(config.data, num_workers=2))))
    # What they show is what they would show of images of their own.
    for batch, expected in zip(whole, _run(dataset, _on_host(config)), strict=True):
        np.testing.assert_array_equal(batch["boxes"], expected["boxes"])
        assert np.abs(images_of(batch).astype(int) - expected["images"]).mean() < 2


def test_groups_that_are_split_over_devices_are_refused() -> None:
    check_whole_groups(_shared(CONFIG, 64, 8), 8)
    check_whole_groups(_on_host(_shared(CONFIG, 64, 16)), 8)
    with pytest.raises(ConfigError, match="each of 8 devices has 8 rows .* --data.augment.partner-group 8 or"):
        check_whole_groups(_shared(CONFIG, 64, 16), 8)
    with pytest.raises(ConfigError, match="each of 8 devices has 2 rows .* Pass --train.batch-size 32 or more, or"):
        check_whole_groups(_shared(CONFIG, 16, 4), 8)


@pytest.mark.parametrize("rows", [range(2, 8), range(0, 6), range(1, 3)])
def test_rows_that_divide_a_group_are_refused_where_it_shares_images(dataset: Dataset, rows: range) -> None:
    message = f"rows {rows.start} to {rows.stop - 1} of a batch of 8 divide a group of rows"
    with pytest.raises(ValueError, match=message):
        training_batches(dataset, _shared(CONFIG), rows=rows)
    load_training_batch(dataset, _on_host(_shared(CONFIG)), 0, rows)


def _darken(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> Any:
    return image // 2, boxes, classes


def test_hooks_may_change_images_before_the_mosaic_alone(dataset: Dataset) -> None:
    plain = load_training_batch(dataset, CONFIG, 0, range(2))[0]["sources"]
    dark = load_training_batch(dataset, CONFIG, 0, range(2), hooks=Hooks(before_mosaic=_darken))[0]["sources"]
    assert 0.4 * plain.sum() < dark.sum() < 0.5 * plain.sum()
    with pytest.raises(ConfigError, match=r"augment\['before_mosaic'\]: _darken .* samples share their images"):
        load_training_batch(dataset, _shared(CONFIG), 0, range(8), hooks=Hooks(before_mosaic=_darken))
    with pytest.raises(ConfigError, match=r"augment\['after_mosaic'\]: _darken .* Drop this function.*augment.on host"):
        load_training_batch(dataset, CONFIG, 0, range(2), hooks=Hooks(after_mosaic=_darken))


@pytest.mark.parametrize("partners", ["dataset", "batch"])
def test_random_batches_have_the_form_of_loaded_ones(partners: str) -> None:
    config = DataConfig(input_size=(64, 64), augment=AugmentConfig(on="device", partners=partners))  # type: ignore[arg-type]
    form = batch_form(config)
    sources, members = form["sources"].shape[0], form["members"].shape[0]
    batch = fake_batch(2, (64, 64), objects=3, sources=sources, members=members)
    assert {name: (array.shape[1:], array.dtype) for name, array in batch.items()} == {
        name: (shape, np.dtype(dtype)) for name, (shape, dtype) in form.items()
    }


def test_images_of_16_bits_are_refused() -> None:
    data = DataConfig(augment=AugmentConfig(on="device"), bits=16)
    with pytest.raises(ConfigError, match="--data.augment.on device draws images of 8 bits, but --data.bits is 16"):
        check_config(Config(data=data))
