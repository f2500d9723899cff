"""Samples drawn on the device: as the host draws them, from the same random choices."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
import pytest

from two_step import shift_hsv as shift_hsv_on_host
from two_step import two_step_sample
from yolox_jax.config import AugmentConfig, DataConfig
from yolox_jax.data.augment.sources import sources_of_row
from yolox_jax.data.batch_form import empty_batch
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import Record
from yolox_jax.data.hooks import NO_HOOKS
from yolox_jax.data.image_order import ImageOrder
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.sample import make_sample, new_canvases
from yolox_jax.training.step.drawing import draw_samples, shift_hsv

SIZE = (64, 64)
SAMPLES = 48
draw = jax.jit(draw_samples)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """Smooth images of many shapes, JPEGs larger than the input among them, with boxes all over."""
    folder = tmp_path_factory.mktemp("smooth")
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (48, 75), (75, 48), (500, 400), (301, 777), (20, 30), (1, 1), (77, 16)]
    records = []
    for number, (height, width) in enumerate(shapes):
        coarse = rng.uniform(40, 220, (3, 3, 3)).astype(np.float32)
        path = folder / f"{number}.{'png' if number % 3 == 2 else 'jpg'}"
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 98])
        corners = np.sort(rng.uniform(0, 1, (6, 2, 2)), axis=1).reshape(6, 4) * [width, height, width, height]
        records.append(Record(path, number, height, width, corners.astype(np.float32), np.arange(6, dtype=np.int32)))
    return tuple(records)


def _samples(records: Sequence[Record], config: DataConfig, cache: Any = None) -> tuple[np.ndarray, list[Any]]:
    """Images and targets of a batch of samples, each sixth without mosaic; drawn where the config says."""
    shown = ImageOrder(records, 0.0).pass_at(0)
    batch, targets = empty_batch(config, SAMPLES), []
    for row in range(SAMPLES):
        sample = make_sample(
            row % len(records),
            ImageLoader(records, cache),
            shown,
            mosaic=row % 6 != 0,
            config=config,
            seed=(row,),
            canvases=new_canvases(config.input_size),
            out=batch["images"][row] if config.augment.on == "host" else sources_of_row(batch, row),
            hooks=NO_HOOKS,
            num_classes=6,
        )
        targets.append(sample)
    return batch["images"] if config.augment.on == "host" else np.asarray(draw(batch)), targets


def _on_device(config: DataConfig) -> DataConfig:
    return replace(config, augment=replace(config.augment, on="device"))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("geometry", ["centred", "corner"])
def test_samples_are_those_of_the_host(smooth: tuple[Record, ...], geometry: str, cached: bool) -> None:
    config = DataConfig(input_size=SIZE, augment=AugmentConfig(mosaic_geometry=geometry), cache="ram")
    with open_cache(smooth, config) as cache:
        expected, targets = _samples(smooth, config, cache if cached else None)
        images, found = _samples(smooth, _on_device(config), cache if cached else None)
    for one, other in zip(targets, found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    differences = np.abs(images.astype(int) - expected).mean(axis=(1, 2, 3))
    print(differences.mean(), differences.max())
    assert differences.mean() < 1.0 and differences.max() < 3.0


def test_two_step(smooth) -> None:
    config = DataConfig(input_size=SIZE)
    images, _ = _samples(smooth, _on_device(config))
    d = []
    for row in range(SAMPLES):
        e = two_step_sample(row % len(smooth), smooth, mosaic=row % 6 != 0, config=config, rng=np.random.default_rng((row,)))
        d.append(np.abs(images[row].astype(int) - e.image).mean())
    print(np.round(d, 2))


@pytest.mark.parametrize("shifts", [(0, 0, 0), (4, 29, -29), (-4, -29, 29), (0, 12, 7), (3, 0, 0)])
def test_colours_are_shifted_as_opencv_does(shifts: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    image[0] = np.arange(256)[:, None]  # grey, which has no hue
    found = np.asarray(jax.jit(shift_hsv)(image.astype(np.float32), np.array(shifts)))
    difference = np.abs(found - shift_hsv_on_host(image, np.array(shifts)))
    print(difference.max(), difference.mean())
    assert difference.max() <= 1 and difference.mean() < 0.15
