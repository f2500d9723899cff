"""Weights of the classes in the classification loss, against imbalance (docs/data.md).

With n(c) the number of objects of class c that an epoch shows, and C the number of classes that have any:

    given           w(c) = its value in `loss.class_weights`, else 1
    balanced        w(c) = min(max n / n(c), `loss.balanced_limit`)

Scaled so that their mean over the objects is 1, weights change how much classes count against each other, and leave
the size of the loss as it is. Where the limit has no effect, `balanced` is then sum of n / (C n(c)), the weights of the
same name in scikit-learn (`sklearn.utils.class_weight.compute_class_weight`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from yolox_jax.config import ConfigError, LossConfig
from yolox_jax.config.class_weights import BALANCED, given_class_weights
from yolox_jax.config.serialization import nearest
from yolox_jax.data.dataset import MAX_LISTED_NAMES, Dataset
from yolox_jax.data.image_order import ImageOrder
from yolox_jax.text import shortened


def class_weights(loss: LossConfig, train_set: Dataset, repeat_threshold: float = 0.0) -> tuple[float, ...] | None:
    """Return the weight of each class of a training set, by class index; None if `loss` gives none.

    Args:
        loss: the settings.
        train_set: the objects that are counted.
        repeat_threshold: `data.repeat_threshold`: objects in repeated images count as often as an epoch shows them.

    Raises:
        ConfigError: `loss.class_weights` is malformed or names a class that the training set does not have.
    """
    if not loss.class_weights:
        return None
    counts = _objects_shown(train_set, repeat_threshold)
    if loss.class_weights == BALANCED:
        weights = _balanced(counts, loss.balanced_limit)
    else:
        weights = _given(loss.class_weights, train_set)
    mean = (weights * counts).sum() / counts.sum() if counts.any() else 1.0
    return tuple((weights / mean).tolist())


def _objects_shown(train_set: Dataset, repeat_threshold: float) -> Float64[np.ndarray, " C"]:
    """Number of objects of each class that an epoch shows on average."""
    factors = ImageOrder(train_set.records, repeat_threshold).factors
    classes = np.concatenate([np.zeros(0, np.int64), *(record.classes for record in train_set.records)])
    shown = np.repeat(factors, [len(record.classes) for record in train_set.records])
    counts = np.bincount(classes, shown, minlength=len(train_set.class_names))
    return counts.astype(np.float64)  # without any objects they are integers


def _balanced(counts: Float64[np.ndarray, " C"], limit: float) -> Float64[np.ndarray, " C"]:
    exist = counts > 0  # the weights of other classes have no effect
    ratios = counts.max(initial=0.0) / np.where(exist, counts, 1.0)
    return np.where(exist, np.minimum(ratios, limit), 1.0)


def _given(entries: Sequence[str], train_set: Dataset) -> Float64[np.ndarray, " C"]:
    weights = given_class_weights(entries)
    for name in weights:
        if name not in train_set.class_names:
            raise ConfigError(
                f"--loss.class-weights: the training set {train_set.name} has no class {name!r}"
                f"{nearest(name, train_set.class_names)} It has {shortened(train_set.class_names, MAX_LISTED_NAMES)}"
            )
    return np.array([weights.get(name, 1.0) for name in train_set.class_names])
