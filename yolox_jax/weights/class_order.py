"""Puts the class predictions of weights into the order of a dataset's classes."""

import json
import logging
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from yolox_jax.weights.files import WeightsFile

logger = logging.getLogger("yolox_jax.weights")

_CLASS_PREDICTIONS = "head.cls_preds."


def with_class_order(weights: WeightsFile, class_names: Sequence[str]) -> Mapping[str, Shaped[np.ndarray, "..."]]:
    """The state dict of weights, with the class predictions in the order of a dataset's classes.

    Programs that convert annotations number classes in the order in which they meet them, so that datasets with the
    same classes may have them in different orders.

    Args:
        weights: a weights file. Without stored class names, or with other classes, its state dict is returned as it is.
        class_names: the classes of the dataset.
    """
    stored = json.loads(weights.metadata.get("class_names", "[]"))
    if stored == list(class_names) or sorted(stored) != sorted(class_names):
        return weights.state_dict
    logger.info("class predictions of the weights put into the order of the dataset's classes")
    order = [stored.index(name) for name in class_names]

    def reordered(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        by_class = array.reshape(-1, len(order), *array.shape[1:])  # a group of outputs for each anchor box of a cell
        return by_class[:, order].reshape(array.shape)

    return {
        name: reordered(array) if name.startswith(_CLASS_PREDICTIONS) and len(array) % len(order) == 0 else array
        for name, array in weights.state_dict.items()
    }
