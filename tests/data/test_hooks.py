"""Own augmentation: what hooks receive and may return, and streams that depend on seed and place alone."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, Config, ConfigError, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.hooks import NO_HOOKS, Hooks, checked_hooks
from yolox_jax.data.pipeline import HostBatch, load_training_batch, training_batches

CONFIG = Config(
    data=DataConfig(input_size=(64, 96), max_boxes=12, num_threads=2),
    schedule=ScheduleConfig(epochs=3, no_aug_epochs=1),
    train=TrainConfig(batch_size=2),
    seed=5,
)
PLAIN = AugmentConfig(mosaic_probability=0.0, hsv_probability=0.0, flip_probability=0.0)


@pytest.fixture
def dataset(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> Dataset:
    return open_dataset(write_coco(coco_content), "train")


def _run(dataset: Dataset, config: Config, hooks: Hooks, **options: Any) -> list[HostBatch]:
    with training_batches(dataset, config, hooks=hooks, **options) as batches:
        return [{key: np.array(value) for key, value in batch.items()} for batch in batches]


def _assert_equal(left: list[HostBatch], right: list[HostBatch]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def unchanged(image: Any, boxes: Any, classes: Any, rng: np.random.Generator) -> Any:
    return image, boxes, classes


def crop_left(image: Any, boxes: Any, classes: Any, rng: np.random.Generator) -> Any:
    """A random part of the image from the left; boxes are cut, and dropped if less than 2 px are left."""
    width = int(rng.integers(image.shape[1] // 2, image.shape[1] + 1))
    boxes[:, 2] = np.minimum(boxes[:, 2], width)
    kept = boxes[:, 2] - boxes[:, 0] > 2
    return image[:, :width], boxes[kept], classes[kept]


def cover_one(image: Any, boxes: Any, classes: Any, rng: np.random.Generator) -> Any:
    """Paints over an object, in place, and removes it."""
    if not len(boxes):
        return image, boxes, classes
    index = rng.integers(len(boxes))
    x1, y1, x2, y2 = boxes[index].astype(int)
    image[y1:y2, x1:x2] = rng.integers(0, 256, 3)
    return image, np.delete(boxes, index, axis=0), np.delete(classes, index)


HOOKS = Hooks(before_mosaic=crop_left, after_mosaic=cover_one)


def test_stream_with_hooks_and_repeats_is_the_same_for_any_start_worker_and_host(dataset: Dataset) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, repeat_threshold=1.0))
    whole = _run(dataset, config, HOOKS)
    plain = _run(dataset, config, NO_HOOKS)
    assert all((a["images"] != b["images"]).any() for a, b in zip(whole, plain, strict=True))
    _assert_equal(whole[4:], _run(dataset, config, HOOKS, start_step=4))
    _assert_equal(whole, _run(dataset, replace(config, data=replace(config.data, num_workers=2)), HOOKS))
    hosts = [_run(dataset, config, HOOKS, rows=range(row, row + 1)) for row in (0, 1)]
    _assert_equal(whole, [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)])
    again, _ = load_training_batch(dataset, config, 5, range(1, 2), hooks=HOOKS)
    _assert_equal([{key: value[1:] for key, value in whole[5].items()}], [again])


def test_hooks_that_change_nothing_leave_the_stream_of_cached_images_as_it_is(dataset: Dataset) -> None:
    # Twice the size of the images: without rounding. Without a cache, images that a mosaic shrinks are decoded small.
    config = replace(CONFIG, data=replace(CONFIG.data, input_size=(96, 128)))
    with open_cache(dataset.records, replace(config.data, cache="ram")) as cache:
        expected = _run(dataset, config, NO_HOOKS, cache=cache)
        _assert_equal(expected, _run(dataset, config, Hooks(unchanged, unchanged), cache=cache))
    _assert_equal(expected, _run(dataset, config, Hooks(unchanged, unchanged)))


def test_a_hook_before_the_mosaic_sees_images_as_annotated_and_decides_their_size(dataset: Dataset) -> None:
    seen = []

    def double(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
        seen.append((image.shape, image.dtype.name, boxes.tolist(), classes.tolist()))
        boxes *= 2
        return image.repeat(2, axis=0).repeat(2, axis=1), boxes, classes

    config = replace(CONFIG, data=replace(CONFIG.data, augment=PLAIN))
    batches = _run(dataset, config, Hooks(before_mosaic=double))
    annotated = [((48, 64, 3), "uint8", record.boxes.tolist(), record.classes.tolist()) for record in dataset.records]
    assert all(one in annotated for one in seen) and len(seen) == 18
    # Twice as large, and fitted to the same input.
    for changed, plain in zip(batches, _run(dataset, config, NO_HOOKS), strict=True):
        np.testing.assert_allclose(changed["boxes"], plain["boxes"], rtol=1e-6)


def test_each_image_of_each_sample_has_randomness_of_its_own(dataset: Dataset) -> None:
    draws = []

    def draw(image: Any, boxes: Any, classes: Any, rng: np.random.Generator) -> Any:
        draws.append(rng.random())
        return image, boxes, classes

    _run(dataset, CONFIG, Hooks(before_mosaic=draw, after_mosaic=draw))
    assert len(set(draws)) == len(draws) > 3 * 18


def test_a_hook_after_the_mosaic_sees_what_would_be_trained_on(dataset: Dataset) -> None:
    seen = []

    def collect(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
        assert (boxes >= 0).all() and (boxes <= [96, 64, 96, 64]).all() and (boxes[:, 2:] - boxes[:, :2] > 1).all()
        seen.append((image.copy(), boxes, classes))
        return image, boxes, classes

    config = replace(CONFIG, data=replace(CONFIG.data, num_threads=1))
    batches = _run(dataset, config, Hooks(after_mosaic=collect))
    rows = [(batch, row) for batch in batches for row in range(2)]
    for (batch, row), (image, boxes, classes) in zip(rows, seen, strict=True):
        valid = batch["valid"][row]
        np.testing.assert_array_equal(batch["images"][row], image)
        np.testing.assert_allclose(batch["boxes"][row, valid, 2:], boxes[:, 2:] - boxes[:, :2], rtol=1e-6)
        np.testing.assert_array_equal(batch["classes"][row, valid], classes)


def test_writing_to_its_arguments_changes_neither_the_dataset_nor_the_cache(dataset: Dataset) -> None:
    def spoil(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
        image[:], boxes[:], classes[:] = 0, [0, 0, 9, 9], 0
        return image, boxes, classes

    before = [(record.boxes.copy(), record.classes.copy()) for record in dataset.records]
    with open_cache(dataset.records, replace(CONFIG.data, cache="ram")) as cache:
        assert cache is not None
        pixels = cache[0].copy()
        _run(dataset, CONFIG, Hooks(before_mosaic=spoil), cache=cache)
        np.testing.assert_array_equal(cache[0], pixels)
    for record, (boxes, classes) in zip(dataset.records, before, strict=True):
        np.testing.assert_array_equal(record.boxes, boxes)
        np.testing.assert_array_equal(record.classes, classes)


def test_a_broken_image_is_replaced_before_the_hook(dataset: Dataset) -> None:
    path = dataset.records[1].path
    path.write_bytes(path.read_bytes()[:-200])
    with training_batches(dataset, CONFIG, hooks=HOOKS) as batches:
        assert len(list(batches)) == 9
        assert set(batches.broken) == {str(path)}


IMAGE, BOX, CLASS = np.zeros((64, 96, 3), np.uint8), [[1.0, 2.0, 30.0, 40.0]], [0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r"must return \(image, boxes, classes\), got NoneType"),
        ((IMAGE, BOX), r"must return \(image, boxes, classes\), got 2 values"),
        ((IMAGE.tolist(), BOX, CLASS), "the image must be a NumPy array, got list"),
        ((IMAGE / 255, BOX, CLASS), r"the image must be uint8 \[H, W, 3\] in BGR order, got float64 \[64, 96, 3\]"),
        ((IMAGE[..., 0], BOX, CLASS), r"must be uint8 \[H, W, 3\] in BGR order, got uint8 \[64, 96\]"),
        ((IMAGE[:32], BOX, CLASS), r"must keep its size of 96x64 px \(width x height\) after the mosaic, got 96x32"),
        ((IMAGE, [[1.0, 2.0, 3.0]], CLASS), r"boxes must be \[N, 4\]: x1, y1, x2, y2 in px; got the shape \[1, 3\]"),
        ((IMAGE, [["a", 2, 3, 4]], CLASS), "boxes must be numbers"),
        ((IMAGE, [[1, 2, np.nan, 4]], CLASS), r"boxes\[0\] \(1, 2, nan, 4\) has NaN or infinity"),
        ((IMAGE, [*BOX, [30, 40, 9, 9]], [0, 0]), r"boxes\[1\] \(30, 40, 9, 9\) has no area. Boxes are x1, y1, x2, y2"),
        ((IMAGE, [[1, 2, 97, 4]], CLASS), r"boxes\[0\] \(1, 2, 97, 4\) reaches outside the image of 96x64 px"),
        ((IMAGE, BOX, []), r"1 boxes need classes of the shape \[1\], got \[0\]"),
        ((IMAGE, BOX, [2]), r"classes\[0\] is 2; it must be an integer from 0 to 1"),
        ((IMAGE, BOX, [0.5]), r"classes\[0\] is 0\.5; it must be an integer from 0 to 1"),
    ],
)
def test_what_a_hook_must_not_return_is_an_error_that_names_hook_stage_and_image(
    dataset: Dataset, returned: Any, message: str
) -> None:
    def mistaken(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
        return returned

    with pytest.raises(DataError, match=rf"the after_mosaic hook .*mistaken, called for /.*sub/\d\.jpg, .*{message}"):
        _run(dataset, CONFIG, Hooks(after_mosaic=mistaken))


def test_values_as_other_libraries_return_them_are_taken(dataset: Dataset) -> None:
    def as_lists(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
        return [image, (boxes.astype(float) + 1e-5).clip(0, 200).tolist(), [float(label) for label in classes]]

    for plain, changed in zip(
        _run(dataset, CONFIG, NO_HOOKS), _run(dataset, CONFIG, Hooks(after_mosaic=as_lists)), strict=True
    ):
        np.testing.assert_allclose(changed["boxes"], plain["boxes"], atol=1e-4)


def fail(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
    raise KeyError("no such thing")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_exception_in_a_hook_ends_loading_and_names_hook_stage_and_image(dataset: Dataset, num_workers: int) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, num_workers=num_workers))
    message = r"the before_mosaic hook fail, called for /.*sub/\d\.jpg, raised KeyError: 'no such thing'"
    with pytest.raises(DataError, match=message):
        _run(dataset, config, Hooks(before_mosaic=fail))


@pytest.mark.parametrize(
    ("augment", "num_workers", "message"),
    [
        (unchanged, 0, "augment must be a dict of stages and functions, .* got <function unchanged"),
        ({"mosaic": unchanged}, 0, r"augment\['mosaic'\]: there is no such stage; pass before_mosaic or after_mosaic"),
        ({"after_mosaic": "crop"}, 0, r"augment\['after_mosaic'\] must be a function .* got 'crop'"),
        ({"after_mosaic": lambda *one: one[:3]}, 2, r"lambda> cannot be sent to .*--data.num-workers 2 .*top level"),
    ],
)
def test_hooks_that_cannot_be_used_are_refused(augment: Any, num_workers: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_hooks(augment, num_workers)


def test_hooks_are_named_after_their_functions() -> None:
    hooks = checked_hooks({"after_mosaic": functools.partial(crop_left), "before_mosaic": cover_one}, 2)
    assert hooks.names == {"before_mosaic": "cover_one", "after_mosaic": "crop_left"}
    assert checked_hooks(None, 2) == NO_HOOKS and not NO_HOOKS.names
    assert checked_hooks({"after_mosaic": lambda *one: one[:3]}, 0).after_mosaic is not None
