"""Learning rate schedules: the rate of each step (docs/yolox.md, 8.2), and of each stage of the network."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from yolox_jax.config import ScheduleConfig
from yolox_jax.training.step.layout import Layout, Packed

NUM_STAGES = 7
"""Stages of the network, from the bottom: stem, dark2, dark3, dark4, dark5, neck, head."""


def learning_rate(step: int, peak: float, schedule: ScheduleConfig, steps_per_epoch: int) -> float:
    """Learning rate at a step, counted from 0 (docs/yolox.md, 8.2).

    With Tw warm-up steps, T steps in total and Tn steps in the last `no_aug_epochs`, `yoloxwarmcos` is::

        t <= Tw:      peak * (t / Tw)^2
        t >= T - Tn:  floor
        else:         floor + (peak - floor) / 2 * (1 + cos(pi * (t - Tw) / (T - Tw - Tn)))

    `warmcos` rises linearly, and falls to zero at T. `cos` is `warmcos` without warm-up. `multistep` is the peak times
    `gamma` to the power of the number of milestones m with t >= m.

    Args:
        step: the step t.
        peak: highest learning rate.
        schedule: name, epochs of each part, and the floor as a fraction of the peak.
        steps_per_epoch: steps in one epoch.
    """
    if schedule.name == "multistep":
        return peak * schedule.gamma ** sum(step >= epoch * steps_per_epoch for epoch in schedule.milestones)
    warmup, total = schedule.warmup_epochs * steps_per_epoch, schedule.epochs * steps_per_epoch
    if schedule.name == "cos":
        return _half_cosine(step / total, peak, 0.0)
    is_linear = schedule.name == "warmcos"
    if 0 < warmup >= step:
        return peak * (step / max(warmup, 1)) ** (1 if is_linear else 2)
    if is_linear:
        return _half_cosine((step - warmup) / (total - warmup), peak, 0.0)
    flat_from = total - schedule.no_aug_epochs * steps_per_epoch
    floor = schedule.min_lr_ratio * peak
    if step >= flat_from:
        return floor
    return _half_cosine((step - warmup) / max(flat_from - warmup, 1), peak, floor)


def _half_cosine(progress: float, peak: float, floor: float) -> float:
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * progress))


def stage_rates(layer_decay: float) -> tuple[float, ...]:
    """Learning rate of each stage relative to that of the head, from the stem up.

    Layer-wise learning-rate decay, with the stages of the network as layers. Source: ELECTRA
    (https://arxiv.org/abs/2003.10555, 3.2), BEiT (https://arxiv.org/abs/2106.08254, 3.1).
    """
    return tuple(layer_decay**distance for distance in reversed(range(NUM_STAGES)))


def stage_of(path: Sequence[str]) -> int:
    """The stage that a weight belongs to, counted from 0, by the names of the modules around it.

    >>> stage_of(("backbone", "backbone", "dark3", "0", "conv", "kernel")), stage_of(("head", "stems", "0"))
    (2, 6)
    """
    if path[0] == "head":
        return NUM_STAGES - 1
    if path[1] != "backbone":
        return NUM_STAGES - 2
    number = re.fullmatch(r"dark(\d+)", path[2])
    return min(int(number[1]) - 1, NUM_STAGES - 3) if number else 0


def scaled_by_stage(updates: Packed, rates: Sequence[float | Float[Array, ""]]) -> Packed:
    """Multiplies the update of each weight by the rate of its stage."""

    def factors(group: str) -> Float[Array, " weights"]:
        return jnp.concatenate([jnp.full(size, rates[stage]) for stage, size in _runs(updates.layout, group)])

    return Packed({group: vector * factors(group) for group, vector in updates.vectors.items()}, updates.layout)


def _runs(layout: Layout, group: str) -> list[tuple[int, int]]:
    """The stages along a vector, each with the number of weights up to the next."""
    indices = jax.tree.unflatten(layout.structure, range(len(layout.places)))
    runs: list[tuple[int, int]] = []
    for path, index in jax.tree_util.tree_leaves_with_path(indices):
        place = layout.places[index]
        if place.group != group:
            continue
        stage, size = stage_of([_name(key) for key in path]), math.prod(place.shape)
        if runs and runs[-1][0] == stage:
            size += runs.pop()[1]
        runs.append((stage, size))
    return runs


def _name(key: Any) -> str:
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
