"""Tiles of large images: where they lie, what they show, and the batches that are made of them."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, Config, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_datasets
from yolox_jax.data.cache import pixel_cache
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Dataset, Record, fingerprint
from yolox_jax.data.doctor.examine import examine
from yolox_jax.data.image import load_image, load_reduced
from yolox_jax.data.image_order import ImageOrder
from yolox_jax.data.letterbox import letterbox, resize_to_fit
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import use_dataset
from yolox_jax.data.sources.python_items import make_dataset
from yolox_jax.data.tiles import cut_into_tiles

TILES = DataConfig(input_size=(64, 64), max_boxes=8, tile=64, tile_overlap=0.25, empty_tiles=1000.0)
NUM_OBJECTS = 12


def _picture(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise below 100, on which each object is a rectangle of a grey of its own, apart from the others."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 100, (height, width, 3)).astype(np.uint8)
    boxes: list[list[int]] = []
    while len(boxes) < NUM_OBJECTS:
        x, y, w, h = rng.integers(0, width), rng.integers(0, height), *rng.integers(4, 24, 2)
        box = [x, y, min(x + w, width), min(y + h, height)]
        if all(box[0] > b[2] or b[0] > box[2] or box[1] > b[3] or b[1] > box[3] for b in boxes):
            image[box[1] : box[3], box[0] : box[2]] = 100 + len(boxes)
            boxes.append(box)
    return image, np.array(boxes, np.float32)


@pytest.fixture(scope="module")
def large() -> Dataset:
    """Two images larger than a tile, one as large as a tile, and a narrow one."""
    sizes = (150, 230), (64, 64), (200, 64), (131, 197)
    items = [(*_picture(height, width, seed), np.arange(NUM_OBJECTS)) for seed, (height, width) in enumerate(sizes)]
    return make_dataset(items, [f"c{n}" for n in range(NUM_OBJECTS)])


@pytest.mark.parametrize(("side", "overlap"), [(64, 0.0), (64, 0.25), (64, 0.875), (64, 0.95), (6, 0.0)])
@pytest.mark.parametrize("size", [(64, 65), (40, 300), (217, 130)])
def test_tiles_cover_the_image_and_overlap_enough(size: tuple[int, int], side: int, overlap: float) -> None:
    image, boxes = _picture(*size, seed=0)
    dataset = make_dataset([(image, boxes, np.zeros(len(boxes), int))], ["a"])
    # An overlap by which every box is visible somewhere, and empty tiles are all kept.
    visible = replace(TILES.augment, min_visible=0.0)
    records = cut_into_tiles(dataset, replace(TILES, tile=side, tile_overlap=overlap, augment=visible)).records
    covered = np.zeros(size, int)
    for record in records:
        assert (record.height, record.width) == (min(side, size[0]), min(side, size[1])) and record.image_size == size
        covered[record.tile.top :, record.tile.left :][: record.height, : record.width] += 1
    assert covered.min() > 0
    for starts, length in (({r.tile.top for r in records}, size[0]), ({r.tile.left for r in records}, size[1])):
        ordered = sorted(starts)
        assert len(records) % len(ordered) == 0
        assert all(0 < after - before <= side * (1 - overlap) for before, after in itertools.pairwise(ordered))
        is_aligned = side * (1 - overlap) >= 8
        assert all(start % 8 == 0 or not is_aligned for start in ordered[:-1])
        assert ordered[-1] == max(length - side, 0)


def test_a_tile_has_the_boxes_that_it_shows_enough_of(large: Dataset) -> None:
    image_of = {record.path: load_image(record) for record in large.records}
    tiled = cut_into_tiles(large, TILES)
    seen = 0
    for record in (record for record in tiled.records if record.tile is not None):
        shown, whole = load_image(record), image_of[record.path]
        top, left = record.tile.top, record.tile.left
        np.testing.assert_array_equal(shown, whole[top : top + record.height, left : left + record.width])
        expected = {}
        for label in range(NUM_OBJECTS):
            rows, columns = np.nonzero(shown[..., 0] == 100 + label)
            if len(rows) > 0.2 * np.sum(whole[..., 0] == 100 + label):
                expected[label] = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert dict(zip(record.classes.tolist(), record.boxes.tolist(), strict=True)) == expected
        seen += len(expected)
    assert seen > 3 * NUM_OBJECTS


def test_images_as_large_as_a_tile_and_the_ground_truth_stay(large: Dataset) -> None:
    tiled = cut_into_tiles(large, TILES)
    assert tiled.ground_truth is large.ground_truth
    assert [record for record in tiled.records if record.tile is None] == [large.records[1]]
    assert cut_into_tiles(large, replace(TILES, tile=0)) is large
    assert fingerprint(tiled) != fingerprint(cut_into_tiles(large, replace(TILES, tile_overlap=0.5)))


def test_of_empty_tiles_a_number_is_kept_and_of_those_with_slivers_none() -> None:
    image, boxes = np.zeros((64, 64 * 10, 3), np.uint8), np.float32([[60, 10, 80, 20], [5, 5, 9, 9]])
    dataset = make_dataset([(image, boxes, np.zeros(2, int))], ["a"])
    settings = replace(TILES, tile_overlap=0.0, augment=AugmentConfig(min_visible=0.5))

    def kept(empty_tiles: float) -> list[int]:
        records = cut_into_tiles(dataset, replace(settings, empty_tiles=empty_tiles)).records
        return [record.tile.left // 64 for record in records]

    assert kept(100) == list(range(10))  # a tile with objects may show a sliver of another
    assert kept(0) == [0, 1]
    assert kept(1) == [0, 1, 2, 6]
    only_second = replace(settings, augment=AugmentConfig(min_visible=0.9))
    records = cut_into_tiles(dataset, replace(only_second, empty_tiles=100.0))
    assert [record.tile.left // 64 for record in records.records] == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    (warning,) = records.warnings
    assert "left out 1 box, because no tile of 64 px shows more than 0.9 of them. Raise --data.tile" in warning


def test_no_box_in_any_tile_is_an_error() -> None:
    dataset = make_dataset([(np.zeros((200, 200, 3), np.uint8), np.float32([[0, 0, 200, 200]]), [0])], ["a"])
    with pytest.raises(DataError, match=r"all boxes are left out.*Raise --data.tile"):
        use_dataset(dataset, TILES, "train", argument="train_set")
    assert use_dataset(dataset, TILES, "val", argument="val_set").records == dataset.records


def test_reduced_tiles_are_those_of_the_reduced_image(tmp_path: Path) -> None:
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 12, 3)).astype(np.uint8), (200, 150))
    cv2.imwrite(str(tmp_path / "0.jpg"), smooth)
    boxes = np.float32([[3, 3, 190, 140]])
    whole = Record(tmp_path / "0.jpg", 0, 150, 200, boxes, np.zeros(1, np.int32))
    everything = replace(TILES, augment=AugmentConfig(min_visible=0.0))
    dataset = Dataset("d", ("a",), (1,), (whole,), {"images": [], "annotations": []}, ())
    for record in cut_into_tiles(dataset, everything).records:
        pixels = load_reduced(record, 0.2)
        reduction = round(1 / pixels.scale[0])
        assert reduction in (1, 2, 4) and record.tile.left % reduction == record.tile.top % reduction == 0
        reference = cv2.resize(load_image(record), pixels.image.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert pixels.image.shape[0] == -(-64 // reduction)
        assert np.abs(pixels.image.astype(int) - reference).mean() < 3
    assert load_reduced(cut_into_tiles(dataset, everything).records[0], 0.2).scale == (0.25, 0.25)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_the_cache_holds_tiles_and_reads_each_image_once(
    large: Dataset, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = cut_into_tiles(large, TILES).records
    read: list[int] = []
    load_whole = pixel_cache.load_whole
    monkeypatch.setattr(pixel_cache, "load_whole", lambda record: (read.append(record.position), load_whole(record))[1])
    config = replace(TILES, input_size=(96, 32), cache=kind, cache_dir=str(tmp_path))
    with open_cache(records, config) as cache:
        for index, record in enumerate(records):
            np.testing.assert_array_equal(cache[index], resize_to_fit(load_image(record), (96, 32))[0])
    assert sorted(read) == [0, 1, 2, 3]
    for some in (records[:3], records[1:4]):  # as many tiles of the same size, at other places of the same image
        with open_cache(some, config) as cache:
            np.testing.assert_array_equal(cache[0], resize_to_fit(load_image(some[0]), (96, 32))[0])


def _batches(dataset: Dataset, config: Config, start_step: int = 0, **options: Any) -> list[dict[str, np.ndarray]]:
    with training_batches(dataset, config, start_step=start_step, **options) as batches:
        return list(batches)


def _training(**data: Any) -> Config:
    return Config(
        data=replace(TILES, empty_tiles=0.25, repeat_threshold=0.3, **data),
        schedule=ScheduleConfig(epochs=2, warmup_epochs=0.5, no_aug_epochs=1),
        train=TrainConfig(batch_size=8),
    )


def test_mosaics_are_made_of_tiles_and_the_last_epoch_shows_them_one_by_one(large: Dataset) -> None:
    config = _training(augment=AugmentConfig(hsv_probability=0.0, flip_probability=0.0))
    tiled = cut_into_tiles(large, config.data)
    batches = _batches(tiled, config)
    order = ImageOrder(tiled.records, 0.3)
    assert order.length > len(tiled.records)  # rare classes are repeated, tile by tile
    assert len(batches) == 2 * -(-order.length // 8)
    images = {letterbox(load_image(record), (64, 64))[0].tobytes() for record in tiled.records}
    is_tile = [image.tobytes() in images for batch in batches for image in batch["images"]]
    assert not any(is_tile[: order.length // 8 * 8]) and all(is_tile[-(order.length // 8 * 8) :])
    assert sum(int(batch["valid"].sum()) for batch in batches) > 100


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_of_tiles_depend_neither_on_threads_and_workers_nor_on_where_a_run_resumes(
    large: Dataset, workers: int
) -> None:
    config = _training(num_threads=1)
    tiled = cut_into_tiles(large, config.data)
    expected = _batches(tiled, config)
    found = _batches(tiled, _training(num_threads=3, num_workers=workers), start_step=2)
    for one, other in zip(found, expected[2:], strict=True):
        assert all((one[key] == other[key]).all() for key in other)


def test_the_data_check_counts_tiles_and_reads_whole_images(
    coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]
) -> None:
    coco_content["annotations"][0]["iscrowd"] = 1
    source = write_coco(coco_content)
    config = DataConfig(train=source, val=source, tile=40, empty_tiles=100.0, input_size=(64, 64))
    done: list[int] = []
    report = examine(config, quick=False, on_progress=lambda _, total: done.append(total))
    tiles = len(open_datasets(config, "train").records)
    assert report.statistics["train"].images == tiles > 5 == report.statistics["val"].images
    assert set(done) == {10}  # the images of both splits
    kinds = {finding.kind: finding.count for finding in report.findings}
    assert kinds["leakage: same image files in train and val"] == 5
    assert not any("listed more than once" in kind or "size" in kind or "read" in kind for kind in kinds)
