"""Adapts the first convolution of weights to images with another number of channels."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Shaped

_FOCUS, _PLAIN = "backbone.backbone.stem.conv.conv.weight", "backbone.backbone.stem.0.conv.weight"
_PATCHES = 4
"""Pixels of which a Focus stacks the channels, so that its convolution has four inputs for each channel."""


def image_channels(state_dict: Mapping[str, Shaped[np.ndarray, "..."]]) -> int | None:
    """Number of channels of the images that weights are for; None if there is no first convolution among them."""
    for name, patches in ((_FOCUS, _PATCHES), (_PLAIN, 1)):
        kernel = state_dict.get(name)
        if kernel is not None and kernel.ndim == 4:
            return kernel.shape[1] // patches
    return None


def with_channels(
    state_dict: Mapping[str, Shaped[np.ndarray, "..."]], channels: int
) -> Mapping[str, Shaped[np.ndarray, "..."]]:
    """Adapt the first convolution to images with another number of channels, such as grey or multispectral ones.

    For images whose channels are all equal, the network computes the same as before: one channel gets the sum of the
    kernels of the colours. More channels repeat them in order, and channels that share a kernel each get an equal part
    of it: with four, the first and the last get half of the kernel of blue.

    Args:
        state_dict: arrays with the original's names and layouts.
        channels: number of channels of the images.

    Returns:
        The same weights if they have this number of channels already, or no first convolution.
    """
    own = image_channels(state_dict)
    if own in (None, channels):
        return state_dict
    name, patches = (_FOCUS, _PATCHES) if _FOCUS in state_dict else (_PLAIN, 1)
    kernel = state_dict[name]
    by_patch = kernel.reshape(len(kernel), patches, own, *kernel.shape[2:])
    adapted = np.einsum("opchw,dc->opdhw", by_patch, _shares(own, channels)).astype(kernel.dtype)
    return {**state_dict, name: adapted.reshape(len(kernel), patches * channels, *kernel.shape[2:])}


def _shares(before: int, after: int) -> Float[np.ndarray, "after before"]:
    """The share of the kernel of each channel before (column) that each channel after (row) gets; columns sum to 1."""
    shares = np.equal.outer(np.arange(after) % min(before, after), np.arange(before) % min(before, after)) * 1.0
    return shares / shares.sum(axis=0)
