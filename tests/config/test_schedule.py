"""A schedule for another number of epochs."""

import pytest

from yolox_jax.config import Config, OptimizerConfig, ScheduleConfig, TrainConfig, peak_learning_rate
from yolox_jax.config.checks import check_config
from yolox_jax.config.schedule import scale_schedule

PUBLISHED = ScheduleConfig(epochs=300, warmup_epochs=5.0, no_aug_epochs=15)


@pytest.mark.parametrize(
    ("epochs", "warmup", "no_aug"), [(600, 10.0, 30), (60, 1.0, 3), (10, 0.167, 1), (2, 0.0333, 1), (1, 0.0167, 0)]
)
def test_phases_scale_with_the_epochs(epochs: int, warmup: float, no_aug: int) -> None:
    scaled = scale_schedule(PUBLISHED, epochs)
    assert (scaled.epochs, scaled.warmup_epochs, scaled.no_aug_epochs) == (epochs, warmup, no_aug)
    assert scaled.min_lr_ratio == PUBLISHED.min_lr_ratio


@pytest.mark.parametrize("recipe", [PUBLISHED, ScheduleConfig(20, 5.0, 14), ScheduleConfig(3, 0.0, 2)])
@pytest.mark.parametrize("epochs", range(1, 12))
def test_scaled_schedule_is_valid(recipe: ScheduleConfig, epochs: int) -> None:
    check_config(Config(schedule=scale_schedule(recipe, epochs)))


def test_recipe_without_a_phase_has_none_after_scaling() -> None:
    scaled = scale_schedule(ScheduleConfig(epochs=10, warmup_epochs=0.0, no_aug_epochs=0), 100)
    assert (scaled.warmup_epochs, scaled.no_aug_epochs) == (0.0, 0)


def test_given_warmup_leaves_room_for_the_other_phases() -> None:
    assert scale_schedule(PUBLISHED, 2, warmup_epochs=1.0).no_aug_epochs == 0


def test_milestones_keep_their_place_in_the_run() -> None:
    recipe = ScheduleConfig(epochs=100, name="multistep", milestones=(60.0, 90.0))
    assert scale_schedule(recipe, 30).milestones == (18.0, 27.0)


def test_peak_learning_rate_is_the_one_given_or_scales_with_the_batch() -> None:
    train = TrainConfig(batch_size=8)
    assert peak_learning_rate(Config(train=train, optimizer=OptimizerConfig(lr_per_image=0.001))) == 0.008
    assert peak_learning_rate(Config(train=train, optimizer=OptimizerConfig(lr_per_image=0.001, lr=0.5))) == 0.5
