"""The stream of batches: the same however it is loaded and wherever it starts."""

import gc
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from absl import flags

from yolox_jax.config import AugmentConfig, Config, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.image import BrokenImage, read_image
from yolox_jax.data.image_order import steps_per_epoch
from yolox_jax.data.letterbox import evaluation_image, letterbox
from yolox_jax.data.pipeline import evaluation_batches, load_training_batch, training_batches

CONFIG = Config(
    data=DataConfig(input_size=(64, 64), max_boxes=6, num_threads=2),
    schedule=ScheduleConfig(epochs=3, no_aug_epochs=1),
    train=TrainConfig(batch_size=2),
    seed=5,
)  # five images, so three steps an epoch, nine in all

PLAIN = AugmentConfig(mosaic_probability=0.0, hsv_probability=0.0, flip_probability=0.0)


@pytest.fixture
def dataset(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> Dataset:
    return open_dataset(write_coco(coco_content), "train")


def _run(dataset: Dataset, config: Config, start_step: int = 0) -> list[dict[str, np.ndarray]]:
    with training_batches(dataset, config, start_step=start_step) as batches:
        return list(batches)


def _assert_equal(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def _shown(dataset: Dataset, batches: list[dict[str, np.ndarray]]) -> list[int | None]:
    """Index of the record that each image of the batches shows unchanged; None for mosaics."""
    whole = [letterbox(read_image(record.path), (64, 64))[0] for record in dataset.records]
    images = [image for batch in batches for image in batch["images"]]
    return [next((n for n, one in enumerate(whole) if (image == one).all()), None) for image in images]


def _with(config: Config, **data: Any) -> Config:
    return replace(config, data=replace(config.data, **data))


def _break(dataset: Dataset, index: int) -> Path:
    path = dataset.records[index].path
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_batches_have_the_promised_form_and_number(dataset: Dataset) -> None:
    batches = _run(dataset, CONFIG)
    assert len(batches) == 3 * steps_per_epoch(dataset.records, CONFIG) == 9
    shapes = {key: (value.shape, value.dtype.name) for key, value in batches[0].items()}
    assert shapes == {
        "images": ((2, 64, 64, 3), "uint8"),
        "boxes": ((2, 6, 4), "float32"),
        "classes": ((2, 6), "int32"),
        "valid": ((2, 6), "bool"),
    }


def test_every_pass_shows_every_image_once_in_an_order_of_its_own(dataset: Dataset) -> None:
    passes = np.reshape(_shown(dataset, _run(dataset, _with(CONFIG, augment=PLAIN)))[:15], (3, 5))
    assert (np.sort(passes, axis=1) == [0, 1, 2, 3, 4]).all()
    assert len({tuple(one) for one in passes.tolist()}) > 1


def test_stream_depends_on_the_seed_alone(dataset: Dataset) -> None:
    whole = _run(dataset, CONFIG)
    _assert_equal(whole, _run(dataset, _with(CONFIG, num_threads=1)))
    other = _run(dataset, replace(CONFIG, seed=6))
    assert any((a["images"] != b["images"]).any() for a, b in zip(whole, other, strict=True))


@pytest.mark.parametrize("start_step", [1, 4, 8, 9])
def test_resumed_stream_is_the_rest_of_the_whole(dataset: Dataset, start_step: int) -> None:
    _assert_equal(_run(dataset, CONFIG)[start_step:], _run(dataset, CONFIG, start_step))


@pytest.mark.parametrize("num_workers", [1, 4])
def test_worker_processes_give_the_same_stream(dataset: Dataset, num_workers: int) -> None:
    threads = _run(dataset, CONFIG)
    with training_batches(dataset, _with(CONFIG, num_workers=num_workers)) as batches:
        _assert_equal(threads, list(batches))


def test_repeated_images_are_the_same_for_any_start_worker_or_host(dataset: Dataset) -> None:
    # Apples are in two of five images and kites in three: seven images an epoch, so four steps.
    config = _with(CONFIG, repeat_threshold=1.0)
    whole = _run(dataset, config)
    assert len(whole) == 3 * 4
    _assert_equal(whole[5:], _run(dataset, config, 5))
    _assert_equal(whole, _run(dataset, replace(config, data=replace(config.data, num_workers=2))))
    hosts = []
    for rows in (range(0, 1), range(1, 2)):
        with training_batches(dataset, config, rows=rows) as batches:
            hosts.append(list(batches))
    _assert_equal(whole, [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)])


def test_an_epoch_repeats_images_of_rare_classes(dataset: Dataset) -> None:
    shown = _shown(dataset, _run(dataset, _with(CONFIG, repeat_threshold=1.0, augment=PLAIN)))
    passes = np.array([np.bincount(shown[first : first + 7], minlength=5) for first in (0, 7, 14)])
    assert (passes >= 1).all() and (passes <= 2).all()
    assert (passes[:, 2] == 1).all(), "the image without objects"


def test_batches_that_do_not_fit_into_shared_memory_pass_through_pipes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nothing_fits(batch_bytes: int, num_workers: int) -> bool:
        asked.append((batch_bytes, num_workers))
        return False

    monkeypatch.setattr("yolox_jax.data.pipeline.fits_shared_memory", nothing_fits)
    batches = _run(dataset, _with(CONFIG, num_workers=1))
    assert asked == [(2 * (64 * 64 * 3 + 6 * (4 * 4 + 4 + 1)), 1)]
    assert all(type(batch["images"]) is np.ndarray for batch in batches)  # not a view of shared memory
    _assert_equal(batches, _run(dataset, CONFIG))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_rows_of_two_hosts_put_together_are_the_batches_of_one(dataset: Dataset, num_workers: int) -> None:
    config = _with(replace(CONFIG, train=TrainConfig(batch_size=4)), num_workers=num_workers)
    hosts = []
    for rows in (range(0, 2), range(2, 4)):
        with training_batches(dataset, config, start_step=1, rows=rows) as batches:
            hosts.append(list(batches))
    together = [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)]
    _assert_equal(_run(dataset, config, 1), together)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_caches_give_one_stream_in_memory_and_on_disk_and_the_boxes_of_no_cache(
    dataset: Dataset, tmp_path: Path, num_workers: int
) -> None:
    streams = []
    for kind in ("ram", "disk"):
        config = _with(CONFIG, cache=kind, cache_dir=str(tmp_path / "cache"), num_workers=num_workers)
        with (
            open_cache(dataset.records, config.data) as cache,
            training_batches(dataset, config, cache=cache) as batches,
        ):
            streams.append(list(batches))
    _assert_equal(*streams)
    for cached, plain in zip(streams[0], _run(dataset, CONFIG), strict=True):
        for key in ("boxes", "classes", "valid"):
            np.testing.assert_array_equal(cached[key], plain[key])


def _process_settings() -> tuple[int, dict[str, str], bool, dict[str, int]]:
    present = {name: flags.FLAGS[name].present for name in flags.FLAGS}
    return cv2.getNumThreads(), dict(os.environ), flags.FLAGS.is_parsed(), present


@pytest.mark.parametrize("num_workers", [0, 1])
def test_closed_batches_leave_the_settings_of_the_process_as_they_were(dataset: Dataset, num_workers: int) -> None:
    cv2.setNumThreads(2)
    before = _process_settings()
    first = training_batches(dataset, _with(CONFIG, num_workers=num_workers))
    second = training_batches(dataset, CONFIG)
    validation = evaluation_batches(dataset, (64, 64), 2)
    for batches in (first, second, validation):
        next(batches)
    first.close()
    assert cv2.getNumThreads() == 1, "others are still loading"
    second.close()
    list(validation)
    assert _process_settings() == before


def test_batches_that_are_never_closed_leave_the_number_of_opencv_threads_as_it_was(dataset: Dataset) -> None:
    cv2.setNumThreads(2)
    batches = training_batches(dataset, CONFIG)
    next(batches)
    del batches
    gc.collect()
    assert cv2.getNumThreads() == 2


def test_a_batch_can_be_loaded_once_more_with_the_names_of_its_images(dataset: Dataset) -> None:
    again, names = load_training_batch(dataset, CONFIG, 4, range(1, 2))
    assert (again["images"][0] == _run(dataset, CONFIG)[4]["images"][1]).all()
    # Four and MixUp's, less those that are out of view.
    assert 1 <= len(names) <= 5 and set(names) <= {str(record.path) for record in dataset.records}


def test_two_passes_augment_an_image_differently(dataset: Dataset) -> None:
    lone = replace(dataset, records=dataset.records[:1])
    first, second = _run(lone, CONFIG)[0]["images"]
    assert (first != second).any()


def test_closed_stream_is_at_its_end(dataset: Dataset) -> None:
    batches = training_batches(dataset, CONFIG)
    next(batches)
    batches.close()
    batches.close()
    assert list(batches) == []


def test_last_epochs_show_single_images(dataset: Dataset) -> None:
    shown = _shown(dataset, _run(dataset, _with(CONFIG, augment=replace(PLAIN, mosaic_probability=1.0))))
    assert shown[:12] == [None] * 12
    assert None not in shown[12:]


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_broken_training_image_is_replaced_named_once_and_counted(
    dataset: Dataset, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    path = _break(dataset, 1)
    whole = dataset.records[:1] + dataset.records[2:]
    with training_batches(dataset, _with(CONFIG, num_workers=num_workers, augment=PLAIN)) as batches:
        shown = _shown(replace(dataset, records=whole), list(batches))
        assert batches.broken == {str(path): "is truncated: the end of the file is missing"}
    assert set(shown) == {0, 1, 2, 3}
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped {path}: is truncated: the end of the file is missing"
    ]


def test_broken_training_image_stops_the_run_if_told_to(dataset: Dataset) -> None:
    _break(dataset, 1)
    with pytest.raises(BrokenImage, match=r"sub/1\.jpg: is truncated.*--data\.broken-images skip"):
        _run(dataset, _with(CONFIG, broken_images="stop"))


def test_run_without_any_readable_image_fails(dataset: Dataset) -> None:
    for index in range(5):
        _break(dataset, index)
    with pytest.raises(DataError, match="5 of 5 training images were tried, and none can be read"):
        _run(dataset, CONFIG)


def test_evaluation_shows_every_image_once_in_order_and_pads_the_last_batch(dataset: Dataset) -> None:
    batches = list(evaluation_batches(dataset, (64, 64), 2))
    assert np.concatenate([batch["indices"] for batch in batches]).tolist() == [0, 1, 2, 3, 4, -1]
    for batch in batches:
        for row, index in enumerate(batch["indices"].tolist()):
            if index < 0:
                assert (batch["images"][row] == 114).all()
                continue
            expected, ratio = evaluation_image(read_image(dataset.records[index].path), (64, 64))
            np.testing.assert_array_equal(batch["images"][row], expected)
            assert batch["ratios"][row] == ratio == 1.0


def test_broken_validation_image_leaves_its_place_empty_or_stops(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    path = _break(dataset, 3)
    with caplog.at_level(logging.WARNING, "yolox_jax.data"):
        batches = list(evaluation_batches(dataset, (64, 64), 4, broken_images="skip"))
    assert np.concatenate([batch["indices"] for batch in batches]).tolist() == [0, 1, 2, -1, 4, -1, -1, -1]
    assert str(path) in caplog.text
    with pytest.raises(BrokenImage, match=r"sub/3\.jpg"):
        list(evaluation_batches(dataset, (64, 64), 4, broken_images="stop"))


def test_evaluation_can_be_left_halfway(dataset: Dataset) -> None:
    batches = evaluation_batches(dataset, (64, 64), 1)
    next(batches)
    batches.close()
    assert next(batches, None) is None
