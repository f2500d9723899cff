"""Checks how unevenly classes are distributed over the training images."""

import math

import numpy as np

from yolox_jax.config import DataConfig, LossConfig
from yolox_jax.config.class_weights import BALANCED
from yolox_jax.data.class_weights import class_weights
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.doctor.finding import Case, Finding, finding_if_any
from yolox_jax.data.image_order import ImageOrder, image_class_pairs
from yolox_jax.text import counted

RARE = 10
"""A class is rare if this many times as many images have the most frequent class."""


def rare_classes(train_set: Dataset, config: DataConfig) -> list[Finding]:
    """List the rare classes, rarest first, and the settings that repeat their images or give them more weight."""
    images = np.bincount(image_class_pairs(train_set.records)[1], minlength=len(train_set.class_names))
    most = int(images.argmax())
    rare = [index for index in np.argsort(images, kind="stable").tolist() if 0 < images[index] * RARE <= images[most]]
    if not rare:
        return []
    frequent = f"{train_set.class_names[most]} ({counted(int(images[most]), 'image')})"
    cases = []
    for index in rare:
        name, count = train_set.class_names[index], int(images[index])
        cases.append(Case(f"{name}: {counted(count, 'image')}, 1/{images[most] / count:.0f} of {frequent}"))
    fractions = images[[rare[0], most]] / len(train_set.records)
    return finding_if_any("rare classes", ("train",), "note", _advice(train_set, config, *fractions.tolist()), cases)


def _advice(train_set: Dataset, config: DataConfig, rarest: float, most: float) -> str:
    # The geometric mean: a class with a hundredth of the images of the most frequent one is shown three times as often.
    threshold = config.repeat_threshold or float(f"{math.sqrt(rarest * most):.1g}")
    order = ImageOrder(train_set.records, threshold)
    effect = (
        f"repeats images of rare classes within an epoch, up to {order.factors.max():.1f} times: it has "
        f"{counted(order.length, 'image')}, not {len(train_set.records)}."
    )
    if config.repeat_threshold:
        return f"--data.repeat-threshold {threshold:g} {effect}"
    weights = class_weights(LossConfig(class_weights=BALANCED), train_set)
    assert weights is not None
    ratio = max(weights) / min(weights)
    return (
        f"They learn slowly. If they matter, train with --data.repeat-threshold {threshold:g}, which {effect} Or with "
        f"--loss.class-weights balanced, which gives their objects up to {ratio:.3g} times the weight of others in the "
        "classification loss, and keeps the length of an epoch."
    )
