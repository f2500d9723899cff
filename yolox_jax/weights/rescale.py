"""Rescales filters to a common norm, without changing the function they compute."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped

from yolox_jax.models.normalization import BatchNorm

FILTER_NORM = 3**-0.5
"""Norm of a filter after rescaling, about that of a filter as PyTorch and this package initialize it."""
MIN_NORM = 1e-9
"""Filters of a smaller norm are dead. Their variances would overflow, so they stay as they are."""


def rescale_filters(state_dict: Mapping[str, Shaped[np.ndarray, "..."]]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Scale every filter that batch norm follows to the same norm, and the batch norm to match (docs/yolox.md, 8.4).

    Batch norm makes the output independent of a filter's norm, so the network computes the same. Training does not
    stay the same: the gradient of a filter w is proportional to 1 / |w|, so one SGD step of a given learning rate turns
    it by an angle proportional to 1 / |w|^2. In weights that were exported with batch norm folded into the filters,
    norms differ by factors of thousands between layers, and the first steps randomize the filters of small norm.

    With the factor c = `FILTER_NORM` / |w| of a channel, and the epsilon e of batch norm::

        w, mean -> c w, c mean        var -> c^2 var        scale -> scale sqrt(c^2 var + e) / (c sqrt(var + e))

    Args:
        state_dict: arrays with the original's names and layouts; not modified.

    Returns:
        A new state dict, with float32 for what has changed. Dead filters, and layers without batch norm, stay
        as they are.
    """
    rescaled = dict(state_dict)
    for key, var in state_dict.items():
        module, _, leaf = key.rpartition(".")
        kernel, mean, scale = f"{module.removesuffix('bn')}conv.weight", f"{module}.running_mean", f"{module}.weight"
        if leaf != "running_var" or not state_dict.keys() >= {kernel, mean, scale}:
            continue
        weight, var = state_dict[kernel].astype(np.float64), var.astype(np.float64)
        norm = np.sqrt(np.sum(np.square(weight), axis=(1, 2, 3)))
        factor = np.divide(FILTER_NORM, norm, out=np.ones_like(norm), where=norm > MIN_NORM)
        new_var = np.square(factor) * var
        gain = np.sqrt((new_var + BatchNorm.EPSILON) / (var + BatchNorm.EPSILON)) / factor
        for name, value in {
            kernel: weight * factor[:, None, None, None],
            mean: state_dict[mean] * factor,
            key: new_var,
            scale: state_dict[scale] * gain,
        }.items():
            rescaled[name] = value.astype(np.float32)
    return rescaled
