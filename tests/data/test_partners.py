"""Partners from the batch: which images a sample shows, each decoded once, and one stream however it is loaded."""

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, Config, ConfigError, DataConfig, ScheduleConfig, TrainConfig
from yolox_jax.config.checks import check_config
from yolox_jax.data import partners
from yolox_jax.data.augment.affine import draw_affine
from yolox_jax.data.augment.mosaic import draw_centre
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.hooks import NO_HOOKS, Hooks
from yolox_jax.data.image import load_reduced
from yolox_jax.data.partners import Group, SharedImages, rows_of_group
from yolox_jax.data.pipeline import load_training_batch, training_batches
from yolox_jax.data.tiles import cut_into_tiles

AUGMENT = AugmentConfig(partners="batch", partner_group=4)
CONFIG = Config(
    data=DataConfig(input_size=(64, 64), max_boxes=8, num_threads=1, augment=AUGMENT),
    schedule=ScheduleConfig(epochs=3, warmup_epochs=0.0, no_aug_epochs=1),
    train=TrainConfig(batch_size=9),
    seed=3,
)  # 13 images, so two steps an epoch, six in all; groups of four and five rows

Batches = list[dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images of several sizes, the third without objects; some JPEGs are more than twice the input size."""
    folder = tmp_path_factory.mktemp("partners")
    rng = np.random.default_rng(0)
    records = []
    for number in range(13):
        height, width = [(48, 64), (150, 201), (64, 40)][number % 3]
        path = folder / f"{number}.jpg"
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (width, height)))
        boxes = np.array([[2, 3, 30, 35], [8, 9, 38, 47]][: 2 * (number != 2)], np.float32).reshape(-1, 4)
        records.append(Record(path, number, height, width, boxes, np.arange(len(boxes), dtype=np.int32)))
    return Dataset("partners", ("a", "b"), (1, 2), tuple(records), {}, ())


def _with(config: Config, **augment: Any) -> Config:
    return replace(config, data=replace(config.data, augment=replace(config.data.augment, **augment)))


def _run(dataset: Dataset, config: Config, start_step: int = 0, hooks: Hooks = NO_HOOKS, **options: Any) -> Batches:
    with training_batches(dataset, config, start_step=start_step, hooks=hooks, **options) as batches:
        return list(batches)


def _assert_equal(left: Batches, right: Batches) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def _darken(image: Any, boxes: Any, classes: Any, rng: Any) -> Any:
    image -= image // int(rng.integers(2, 9))  # in place: other samples must not see it
    return image, boxes, classes


def test_samples_show_what_a_plain_search_of_the_batch_finds(dataset: Dataset) -> None:
    # At this zoom the whole mosaic is in view, and MixUp's image always is, so that what is loaded is what was drawn.
    augment = {"mosaic_scale": (0.5, 0.5), "degrees": 0.0, "shear_degrees": 0.0, "translate": 0.0}
    config = _with(CONFIG, **augment, hsv_probability=0.0)
    mixups = 0
    for step in range(4):
        places = [divmod(step * 9 + row, 13) for row in range(9)]
        batch = [int(np.random.default_rng((3, number)).permutation(13)[place]) for number, place in places]
        for row, (number, place) in enumerate(places):
            others = [batch[other] for other in (range(4) if row < 4 else range(4, 9)) if other != row]
            rng = np.random.default_rng((3, number, place + 1))
            rng.random()
            draw_centre(rng, (64, 64))
            shown = [batch[row], *(others[one] for one in rng.choice(len(others), 3, replace=False))]
            draw_affine(rng, config.data.augment)
            if any(len(dataset.records[one].boxes) for one in shown):
                rng.random()
                labelled = [other for other in others if len(dataset.records[other].boxes)]
                fresh = [other for other in labelled if other not in shown] or labelled
                shown.append(fresh[int(rng.integers(len(fresh)))])
                mixups += 1
            _, loaded = load_training_batch(dataset, config, step, range(row, row + 1))
            assert loaded == [str(dataset.records[one].path) for one in shown], (step, row)
    assert mixups > 30


@pytest.mark.parametrize("batch_size", [4, 7, 8, 9, 17, 64])
@pytest.mark.parametrize("group_size", [4, 8])
def test_groups_are_consecutive_rows_of_nearly_equal_number(batch_size: int, group_size: int) -> None:
    groups = list(dict.fromkeys(rows_of_group(row, batch_size, group_size) for row in range(batch_size)))
    assert [row for group in groups for row in group] == list(range(batch_size))
    sizes = [len(group) for group in groups]
    assert min(sizes) >= min(group_size, batch_size) and max(sizes) - min(sizes) <= 1 and max(sizes) < 2 * group_size
    # The rows of a host are a multiple of 8 in most runs: no group is then divided between hosts.
    assert batch_size % 8 or all(group.start % group_size == 0 for group in groups)


def test_every_other_image_of_a_group_is_an_equally_likely_partner(dataset: Dataset) -> None:
    row, images = 10, [3, 4, 5, 6, 2, 7, 8, 9]  # image 2 has no objects
    view = Group(range(8, 16), images, dataset.records, (64, 64)).partners_of(row)
    rng = np.random.default_rng(0)
    tiles, blended = [], []
    for _ in range(7000):
        tiles.append(view.draw_tiles(rng))
        blended.append(view.draw_mixup(rng, [5, *tiles[-1]]))
        assert len({5, *tiles[-1], blended[-1]}) == 5, "MixUp shows an image that the mosaic does not"
    for place in range(3):
        counts = Counter(one[place] for one in tiles)
        assert set(counts) == {3, 4, 6, 2, 7, 8, 9} and all(abs(count - 1000) < 150 for count in counts.values())
    counts = Counter(blended)
    assert set(counts) == {3, 4, 6, 7, 8, 9} and all(abs(count - 7000 / 6) < 150 for count in counts.values())


def test_each_image_is_decoded_once_for_all_samples_of_its_group(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def counted(record: Record, zoom: float) -> Any:
        decoded.append(record.path)
        return load_reduced(record, zoom)

    monkeypatch.setattr(partners, "load_reduced", counted)
    shown = 0
    for step in range(4):
        decoded.clear()
        _, loaded = load_training_batch(dataset, CONFIG, step, range(9))
        shown += len(loaded)
        # A batch across the border of two passes may have an image in both groups.
        assert max(Counter(decoded).values()) <= 2 and len(decoded) <= 9 and set(map(str, decoded)) == set(loaded)
    assert shown > 3 * 4 * 9


def test_images_of_one_group_at_a_time_are_in_memory(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[SharedImages]] = []

    class Watched(SharedImages):
        def __getitem__(self, index: int) -> np.ndarray:
            assert [one() for one in made if one() is not None] == [self]
            return super().__getitem__(index)

    def watched(*arguments: Any) -> SharedImages:
        images = Watched(*arguments)
        made.append(weakref.ref(images))
        return images

    monkeypatch.setattr(partners, "SharedImages", watched)
    for step in range(4):
        load_training_batch(dataset, CONFIG, step, range(9))
    assert len(made) == 8 and all(one() is None for one in made)


@pytest.mark.parametrize("kind", ["hooks", "repeats", "tiles", "broken"])
def test_stream_is_the_same_for_any_start_thread_and_host(
    dataset: Dataset, kind: str, tmp_path: Path, copied: Callable[[Dataset, Path], Dataset]
) -> None:
    config, hooks = CONFIG, Hooks(before_mosaic=_darken, after_mosaic=_darken) if kind == "hooks" else NO_HOOKS
    if kind == "repeats":
        config = replace(config, data=replace(config.data, repeat_threshold=1.0))
    if kind == "tiles":
        config = replace(config, data=replace(config.data, tile=64, empty_tiles=9.0))
        dataset = cut_into_tiles(dataset, config.data)
        assert len(dataset.records) > 20, [record.tile for record in dataset.records]
    if kind == "broken":
        dataset = copied(dataset, tmp_path)
        for number in (0, 5, 6):
            dataset.records[number].path.write_bytes(b"")
    whole = _run(dataset, config, hooks=hooks)
    _assert_equal(whole[3:], _run(dataset, config, 3, hooks))
    _assert_equal(whole, _run(dataset, replace(config, data=replace(config.data, num_threads=3)), hooks=hooks))
    # The first host has a part of the second group.
    hosts = [_run(dataset, config, hooks=hooks, rows=rows) for rows in (range(6), range(6, 9))]
    _assert_equal(whole, [{key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*hosts, strict=True)])


@pytest.fixture
def copied() -> Callable[[Dataset, Path], Dataset]:
    """Copies the images of a dataset, to break some."""

    def copy(dataset: Dataset, folder: Path) -> Dataset:
        records = []
        for record in dataset.records:
            path = folder / record.path.name
            path.write_bytes(record.path.read_bytes())
            records.append(replace(record, path=path))
        return replace(dataset, records=tuple(records))

    return copy


def test_last_epochs_are_those_of_partners_from_the_dataset(dataset: Dataset) -> None:
    ours, plain = _run(dataset, CONFIG), _run(dataset, _with(CONFIG, partners="dataset"))
    assert all((a["images"] != b["images"]).any() for a, b in zip(ours[:4], plain[:4], strict=True))
    _assert_equal(ours[4:], plain[4:])


def test_caches_give_one_stream_whose_boxes_are_those_without_a_cache(dataset: Dataset, tmp_path: Path) -> None:
    plain = _run(dataset, CONFIG)
    with open_cache(dataset.records, replace(CONFIG.data, cache="ram")) as cache:
        in_memory = _run(dataset, CONFIG, cache=cache)
    with open_cache(dataset.records, replace(CONFIG.data, cache="disk", cache_dir=str(tmp_path))) as cache:
        _assert_equal(in_memory, _run(dataset, CONFIG, cache=cache))
    for cached, decoded in zip(in_memory, plain, strict=True):
        np.testing.assert_array_equal(cached["boxes"], decoded["boxes"])
    # Images of less than twice the input are shared as the cache has them.
    small = replace(dataset, records=tuple(record for record in dataset.records if record.width < 100))
    with open_cache(small.records, replace(CONFIG.data, cache="ram")) as cache:
        _assert_equal(_run(small, CONFIG), _run(small, CONFIG, cache=cache))


def test_shared_images_have_the_size_of_cached_ones_and_look_alike(dataset: Dataset) -> None:
    shared = SharedImages(dataset.records, (64, 64))
    with open_cache(dataset.records, replace(CONFIG.data, cache="ram")) as cache:
        assert cache is not None
        for index in range(len(dataset.records)):
            assert shared[index].shape == cache[index].shape and shared[index] is shared[index]
            assert np.abs(shared[index].astype(int) - cache[index]).mean() < 3


def test_batches_of_less_than_four_are_an_error_where_mosaics_are_made() -> None:
    small = replace(CONFIG, train=replace(CONFIG.train, batch_size=3))
    with pytest.raises(ConfigError, match=r"--data\.augment\.partners batch .* --train\.batch-size is 3\. Pass"):
        check_config(small)
    check_config(_with(small, mosaic_probability=0.0))
    check_config(_with(small, partners="dataset"))
    check_config(replace(small, train=replace(small.train, batch_size=4)))
