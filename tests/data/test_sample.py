"""The whole training sample: what is drawn, what is kept."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, DataConfig, DatasetConfig
from yolox_jax.data.image import read_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.sample import ImageLoader, Sample, make_sample
from yolox_jax.data.sources import open_dataset

PLAIN = AugmentConfig(hsv_probability=0.0, flip_probability=0.0)


@pytest.fixture
def loader(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> ImageLoader:
    return ImageLoader(open_dataset(write_coco(coco_content), "train").records)


def _sample(loader: ImageLoader, index: int, config: DataConfig, *, mosaic: bool, seed: int = 0) -> Sample:
    with_objects = np.flatnonzero([len(record.boxes) > 0 for record in loader.records])
    rng = np.random.default_rng(seed)
    return make_sample(index, loader, with_objects, mosaic=mosaic, config=config, rng=rng)


def test_without_mosaic_the_image_is_only_letterboxed(loader: ImageLoader) -> None:
    sample = _sample(loader, 0, DataConfig(input_size=(96, 96), max_boxes=4, augment=PLAIN), mosaic=False)
    np.testing.assert_array_equal(sample.image, letterbox(read_image(loader.records[0].path), (96, 96))[0])
    np.testing.assert_allclose(sample.boxes[:2], [[30, 30, 30, 30], [72.75, 34.5, 24, 45]])
    assert sample.classes.tolist() == [1, 0, 0, 0]
    assert sample.valid.tolist() == [True, True, False, False]


def test_mirroring_mirrors_boxes_before_the_padding_is_added(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=replace(PLAIN, flip_probability=1.0))
    sample = _sample(loader, 0, config, mosaic=False)
    np.testing.assert_allclose(sample.boxes[0], [96 - 30, 30, 30, 30])
    assert (sample.image[72:] == 114).all()


def test_image_without_objects_is_background_without_colour_change_or_mirroring(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=AugmentConfig(flip_probability=1.0))
    sample = _sample(loader, 2, config, mosaic=False)
    np.testing.assert_array_equal(sample.image, letterbox(read_image(loader.records[2].path), (96, 96))[0])
    assert not sample.valid.any()
    assert not sample.boxes.any()


def test_image_whose_boxes_all_become_too_small_is_background(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=replace(PLAIN, min_final_side_px=200.0, mixup_probability=0.0))
    for mosaic in (False, True):
        assert not _sample(loader, 0, config, mosaic=mosaic).valid.any()


def test_of_too_many_objects_the_first_are_kept(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), max_boxes=1, augment=PLAIN)
    sample = _sample(loader, 0, config, mosaic=False)
    assert sample.valid.tolist() == [True]
    np.testing.assert_allclose(sample.boxes, [[30, 30, 30, 30]])


@pytest.mark.parametrize("geometry", ["centred", "corner"])
def test_boxes_of_mosaics_lie_inside_the_input_and_exceed_the_smallest_side(loader: ImageLoader, geometry: str) -> None:
    config = DataConfig(input_size=(96, 128), augment=AugmentConfig(mosaic_geometry=geometry))
    for seed in range(20):
        sample = _sample(loader, seed % 5, config, mosaic=True, seed=seed)
        assert sample.image.shape == (96, 128, 3)
        centres, sides = sample.boxes[sample.valid, :2], sample.boxes[sample.valid, 2:]
        assert (sides > 1.0).all()
        assert (centres - sides / 2 > -1e-3).all()
        assert (centres + sides / 2 < np.array([128, 96]) + 1e-3).all()


def test_mosaic_probability_zero_gives_single_images(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=replace(PLAIN, mosaic_probability=0.0))
    np.testing.assert_array_equal(
        _sample(loader, 1, config, mosaic=True).image, _sample(loader, 1, config, mosaic=False).image
    )


def test_data_set_without_objects_has_no_mixup(loader: ImageLoader) -> None:
    bare = ImageLoader([replace(r, boxes=r.boxes[:0], classes=r.classes[:0]) for r in loader.records])
    assert not _sample(bare, 0, DataConfig(input_size=(96, 96)), mosaic=True).valid.any()


def test_samples_and_sources_import_nothing_of_jax() -> None:
    program = (
        "import sys, yolox_jax.data.sources, yolox_jax.data.sources.shapes, yolox_jax.data.sample;"
        "print([name for name in ('jax', 'jaxlib', 'flax', 'grain') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
