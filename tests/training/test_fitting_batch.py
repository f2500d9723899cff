"""The batch size that a run finds by itself."""

import dataclasses
from collections.abc import Callable

import jax
import pytest

from yolox_jax.config import Config, ConfigError, DataConfig, ModelConfig, TrainConfig
from yolox_jax.training import fitting_batch
from yolox_jax.training.fitting_batch import fitting_batch_size, rounded
from yolox_jax.training.profiling.prepared_step import PreparedStep
from yolox_jax.training.run_schedule import RunSchedule

CONFIG = Config(
    model=ModelConfig(variant="yolox_nano"),
    data=DataConfig(input_size=(32, 32), max_boxes=8),
    train=TrainConfig(multiscale_px=None),
)


@pytest.fixture
def memory_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Sets the images that fit in all, as if each needed the same memory; returns the batch sizes that are tried."""

    def set_limit(images: int) -> list[int]:
        tried: list[int] = []

        class Step:
            def __init__(self, config: Config, num_classes: int, devices: object) -> None:
                self._images = config.train.batch_size // config.train.accumulation_steps
                tried.append(config.train.batch_size)

            def needed_bytes(self, size: tuple[int, int]) -> int:
                return 100 + 10 * self._images

        monkeypatch.setattr(fitting_batch, "PreparedStep", Step)
        monkeypatch.setattr(fitting_batch, "limit_bytes", lambda: int((100 + 10 * images) / fitting_batch.CPU_SHARE))
        return tried

    return set_limit


@pytest.mark.parametrize(
    ("fit", "images", "expected"),
    [(13, 1000, 8), (500, 1000, 16), (500, 90, 8), (500, 70, 8), (500, 5, 5), (5, 1000, 5)],
)
def test_it_is_the_largest_that_fits_with_ten_steps_an_epoch_and_at_most_16_on_a_cpu(memory_of, fit, images, expected):
    memory_of(fit)
    assert fitting_batch_size(CONFIG, 3, images) == expected


def test_parts_of_an_accumulated_batch_fit_one_at_a_time(memory_of):
    tried = memory_of(3)
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, accumulation_steps=4))
    assert fitting_batch_size(config, 3, 1000) == 8 and tried[0] == 16  # three fit of each part


@pytest.mark.parametrize("shares", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("size", [1, 7, 24, 100, 1000])
def test_rounding_is_down_to_what_the_shares_divide_and_to_eight_if_it_can_be(shares, size):
    size = size * shares
    found = rounded(size, shares)
    assert 0 < found <= size and found % shares == 0
    larger = [other for other in range(1, size + 1) if other % 8 == 0 and other % shares == 0]
    assert found == (larger[-1] if larger else size)


def test_where_not_one_image_fits_the_error_names_what_helps(memory_of):
    memory_of(0)
    with pytest.raises(ConfigError, match="--train.batch-size auto: not even one image fits .* --train.rematerialise"):
        fitting_batch_size(CONFIG, 3, 1000)


@pytest.mark.slow
def test_the_step_is_compiled_for_a_device_that_is_there_without_its_state():
    config = fitting_batch.with_batch_size(CONFIG, 2)
    step = PreparedStep(config, 3, [jax.devices()[0]])
    assert isinstance(step.training.state.step, jax.ShapeDtypeStruct) and isinstance(
        step.training.schedule, RunSchedule
    )
    assert step.needed_bytes((32, 32)) > 4 * 900_000 * 4, "weights, average, momentum and gradients of YOLOX-nano"
