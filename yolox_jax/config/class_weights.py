"""What `loss.class_weights` says."""

import math
from collections.abc import Sequence

from yolox_jax.config.settings import ConfigError

BALANCED = ("balanced",)
"""The value of `loss.class_weights` that derives the weights from the training set."""


def given_class_weights(entries: Sequence[str]) -> dict[str, float]:
    """Read the weight of each class from entries such as `helmet=2`.

    >>> given_class_weights(("helmet=2", "hard hat=0.5"))
    {'helmet': 2.0, 'hard hat': 0.5}

    Raises:
        ConfigError: an entry has another form, its weight is not a positive number, or it names a class again.
    """
    weights: dict[str, float] = {}
    for entry in entries:
        name, equals, text = entry.rpartition("=")
        if not equals or not name:
            raise ConfigError(
                f"--loss.class-weights {entry}: pass NAME=WEIGHT for each class, such as helmet=2, or `balanced` alone"
            )
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise ConfigError(f"--loss.class-weights {entry}: the weight must be a number above 0")
        if name in weights:
            raise ConfigError(f"--loss.class-weights names {name!r} twice. Name every class once")
        weights[name] = weight
    return weights
