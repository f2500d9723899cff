"""Samples drawn on the device: as the host draws them, from the same random choices."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import jax
import numpy as np
import pytest

from small_network import SmallNetwork
from started import scalars_at, started
from two_step import shift_hsv as shift_hsv_on_host
from two_step import two_step_sample
from yolox_jax.config import AugmentConfig, Config, DataConfig, TrainConfig
from yolox_jax.data.augment.sources import sources_of_row
from yolox_jax.data.batch_form import batch_form, empty_batch
from yolox_jax.data.cache.pixel_cache import PixelCache, open_cache
from yolox_jax.data.dataset import Record
from yolox_jax.data.hooks import NO_HOOKS
from yolox_jax.data.image_order import ImageOrder
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.pixel_format import PixelFormat, pixel_format
from yolox_jax.data.sample import make_sample, new_canvases
from yolox_jax.data.sample_plan import SampleTargets
from yolox_jax.training.step.drawing import images_of, shift_hsv

SIZE = (64, 96)
SAMPLES = 48


class Samples(NamedTuple):
    """A batch of samples, and what the host sends for them."""

    images: np.ndarray
    targets: list[SampleTargets]
    sent: dict[str, np.ndarray]


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
        cv2.imwrite(str(path), picture)
        corners = np.sort(rng.uniform(0, 1, (6, 2, 2)), axis=1).reshape(6, 4) * [width, height, width, height]
        records.append(Record(path, number, height, width, corners.astype(np.float32), np.arange(6, dtype=np.int32)))
    return tuple(records)


def _samples(records: Sequence[Record], config: DataConfig, cache: PixelCache | None = None) -> Samples:
    """Samples of which each sixth is without mosaic, as in the last epochs; drawn where the config says."""
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
            canvases=new_canvases(config.input_size, pixel_format(config)),
            out=batch["images"][row] if config.augment.on == "host" else sources_of_row(batch, row),
            hooks=NO_HOOKS,
            num_classes=6,
        )
        targets.append(sample)
    return Samples(images_of(batch), targets, batch)


def _config(on: str, **augment: object) -> DataConfig:
    return DataConfig(input_size=SIZE, augment=AugmentConfig(on=on, **augment))  # type: ignore[arg-type]


def _differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean difference of each image, in grey levels."""
    return np.abs(one.astype(int) - other).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("geometry", ["centred", "corner"])
def test_samples_are_those_of_the_host(smooth: tuple[Record, ...], geometry: str, cached: bool) -> None:
    with open_cache(smooth, DataConfig(input_size=SIZE, cache="ram")) as filled:
        cache = filled if cached else None
        expected = _samples(smooth, _config("host", mosaic_geometry=geometry), cache)
        found = _samples(smooth, _config("device", mosaic_geometry=geometry), cache)
    for one, other in zip(found.targets, expected.targets, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    differences = _differences(found.images, expected.images)
    assert differences.mean() < 0.3 and differences.max() < 1.0
    assert {len(np.unique(sent)) > 1 for sent in found.sent["partner_padding"]} == {True, False}


def test_samples_are_mosaics_that_are_warped_afterwards(smooth: tuple[Record, ...]) -> None:
    found = _samples(smooth, _config("device"))
    for row, image in enumerate(found.images):
        rng, mosaic = np.random.default_rng((row,)), row % 6 != 0
        expected = two_step_sample(row % len(smooth), smooth, mosaic=mosaic, config=_config("host"), rng=rng)
        assert np.abs(image.astype(int) - expected.image).mean() < 0.6, row


def test_a_sample_is_sent_no_more_images_than_it_can_show(smooth: tuple[Record, ...]) -> None:
    plain = {"hsv_probability": 0.0, "mixup_probability": 0.0}
    for number, probability in ((4, 1.0), (1, 0.0)):
        found = _samples(smooth, _config("device", mosaic_probability=probability, **plain))
        assert found.sent["sources"].shape == (SAMPLES, number, *SIZE, 3)
        expected = _samples(smooth, _config("host", mosaic_probability=probability, **plain)).images
        assert _differences(found.images, expected).max() < (1.0 if probability else 1e-9)


def test_images_of_one_channel_are_drawn_as_on_the_host(smooth: tuple[Record, ...]) -> None:
    grey = tuple(replace(record, pixels=PixelFormat(1, 8)) for record in smooth)
    host, device = (replace(_config(on), channels=1) for on in ("host", "device"))
    assert _differences(_samples(grey, device).images, _samples(grey, host).images).max() < 1.0


@pytest.mark.parametrize("shifts", [(0, 0, 0), (4, 29, -29), (-4, -29, 29), (0, 12, 7), (3, 0, 0)])
def test_colours_are_shifted_as_opencv_does(shifts: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 256, 3), np.uint8)
    image[0] = np.arange(256)[:, None]  # grey, which has no hue
    found = np.asarray(jax.jit(shift_hsv)(image.astype(np.float32), np.array(shifts)))
    difference = np.abs(found - shift_hsv_on_host(image, np.array(shifts)))
    assert difference.max() <= 1 and difference.mean() < 0.15


def test_the_step_draws_the_samples_before_it_resizes_them() -> None:
    config = Config(data=_config("device"), train=TrainConfig(batch_size=4))
    _, state, step = started(config, SmallNetwork((96, 96), 6))
    batch = {name: np.zeros((4, *form.shape), form.dtype) for name, form in batch_form(config.data).items()}
    lowered = step.lower(state, batch, scalars_at(config, 0, 0.1, 0.0), size=(96, 96))
    assert "tensor<4x5x64x96x3xui8>" in lowered.as_text() and "tensor<4x96x96x3xf32>" in lowered.as_text()
