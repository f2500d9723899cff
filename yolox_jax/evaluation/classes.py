"""Checks that a detector and a dataset have the same classes."""

import logging
from collections.abc import Sequence

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import Dataset
from yolox_jax.inference.options import numbered_classes
from yolox_jax.text import shortened

logger = logging.getLogger(__name__)

MOST_NAMES = 10
"""Maximum number of class names in a message."""


def check_classes(class_names: Sequence[str], dataset: Dataset) -> None:
    """Check that a detector with these classes can be evaluated on a dataset, which matches them by index.

    Logs a warning where the two have different names for a class.

    Raises:
        ConfigError: the number of classes differs; the message names the classes of both.
    """
    if len(class_names) != len(dataset.class_names):
        ours, theirs = (shortened(names, MOST_NAMES) for names in (class_names, dataset.class_names))
        raise ConfigError(
            f"The weights have {len(class_names)} classes ({ours}), but the dataset {dataset.name} has "
            f"{len(dataset.class_names)} ({theirs}). Evaluate on the dataset that the weights were trained on, or "
            "fine-tune them on this one first: train.py --model.weights W."
        )
    if tuple(class_names) == numbered_classes(len(class_names)):
        return
    for index, (ours, theirs) in enumerate(zip(class_names, dataset.class_names, strict=True)):
        if ours != theirs:
            logger.warning(
                "class %d is %r in the weights and %r in the dataset %s. Classes are matched by index: the metrics are "
                "meaningless unless these are the same class.",
                *(index, ours, theirs, dataset.name),
            )
            return
