"""Values that follow from the length of a run: the peak learning rate, the EMA ramp, and shorter schedules."""

import dataclasses
import math

from yolox_jax.config.optimization import ScheduleConfig
from yolox_jax.config.settings import Config


def peak_learning_rate(config: Config) -> float:
    """The learning rate at the end of warm-up: `optimizer.lr`, or else `optimizer.lr_per_image` times the batch size.

    >>> peak_learning_rate(Config())
    0.01
    """
    optimizer = config.optimizer
    return optimizer.lr_per_image * config.train.batch_size if optimizer.lr is None else optimizer.lr


def ema_ramp_steps(config: Config, total_steps: int) -> float:
    """The time constant of the EMA ramp in steps: `train.ema_ramp_steps`, or else one that suits the run.

    With the ramp r, the average spans about exp(n / r) steps after n steps. It is a tenth of a run of N steps at its
    end if r = N / ln(N / 10). The ramp is at most the 2000 steps of the original.
    """
    if config.train.ema_ramp_steps is not None:
        return config.train.ema_ramp_steps
    return min(2000.0, total_steps / math.log(max(total_steps / 10, math.e)))


def scale_schedule(recipe: ScheduleConfig, epochs: int, *, warmup_epochs: float | None = None) -> ScheduleConfig:
    """Changes the number of epochs, and the phases of the schedule in proportion.

    The warm-up becomes `warmup_epochs` of the recipe times the ratio of the epochs, to three digits. The last epochs
    without mosaic become `no_aug_epochs` times the ratio, rounded, but at least one if the recipe has any, and few
    enough that both phases together stay shorter than the run. Milestones keep their place in the run, to three digits.

    >>> scaled = scale_schedule(ScheduleConfig(epochs=300, warmup_epochs=5.0, no_aug_epochs=15), 60)
    >>> scaled.warmup_epochs, scaled.no_aug_epochs
    (1.0, 3)

    Args:
        recipe: The schedule to scale.
        epochs: The new number of epochs.
        warmup_epochs: The warm-up to use in place of the scaled one.
    """
    ratio = epochs / recipe.epochs

    def scaled(value: float) -> float:
        return float(f"{value * ratio:.3g}")

    warmup = scaled(recipe.warmup_epochs) if warmup_epochs is None else warmup_epochs
    no_aug = math.floor(recipe.no_aug_epochs * ratio + 0.5)
    if recipe.no_aug_epochs:
        no_aug = max(1, no_aug)
    no_aug = min(no_aug, max(0, math.ceil(epochs - warmup) - 1))
    milestones = tuple(map(scaled, recipe.milestones))
    return dataclasses.replace(recipe, epochs=epochs, warmup_epochs=warmup, no_aug_epochs=no_aug, milestones=milestones)
