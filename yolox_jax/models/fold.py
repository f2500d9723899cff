"""Folding of batch norm into the convolutions, for inference."""

import jax
from flax import nnx
from jax import lax
from jaxtyping import Array

from yolox_jax.models.blocks import BaseConv
from yolox_jax.models.normalization import BatchNorm
from yolox_jax.models.yolox import YOLOX


def fold_batch_norm(model: YOLOX) -> YOLOX:
    """A new model without batch norm that has the outputs of `model` in evaluation mode.

    Each convolution gets a bias and a rescaled kernel (docs/yolox.md, 2.7)::

        W' = W * gamma / sqrt(var + eps)
        b' = beta - mean * gamma / sqrt(var + eps)

    A folded model can neither be trained nor saved as weights. `model` does not change.
    """
    folded = nnx.clone(model)
    blocks, values = [], []
    for _, block in nnx.iter_modules(folded):
        if isinstance(block, BaseConv) and block.bn is not None:
            bn = block.bn
            blocks.append(block)
            values.append((block.conv.kernel[...], bn.scale[...], bn.bias[...], bn.mean[...], bn.var[...]))
    for block, (kernel, bias) in zip(blocks, _fold(values), strict=True):
        block.conv.kernel = nnx.Param(kernel)
        block.conv.bias = nnx.Param(bias)
        block.bn = None
    folded.eval()
    return folded


@jax.jit  # one small program instead of several per shape
def _fold(blocks: list[tuple[Array, Array, Array, Array, Array]]) -> list[tuple[Array, Array]]:
    folded = []
    for kernel, scale, bias, mean, var in blocks:
        factor = scale * lax.rsqrt(var + BatchNorm.EPSILON)
        folded.append((kernel * factor, bias - mean * factor))
    return folded
