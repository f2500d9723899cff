"""Batch norm folded into the convolutions, for inference."""

import jax
from flax import nnx
from jax import lax
from jaxtyping import Array

from yolox_jax.models.blocks import BaseConv
from yolox_jax.models.normalization import BatchNorm
from yolox_jax.models.yolox import YOLOX


def fold_batch_norm(model: YOLOX) -> YOLOX:
    """A new model with the outputs that `model` has in evaluation mode, and no batch norm.

    With W' = W * gamma / sqrt(var + eps) and b' = beta - mean * gamma / sqrt(var + eps) (SPEC A5), convolution and bias
    give what convolution and batch norm gave. The folded model cannot be trained on, nor exported as weights.
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


@jax.jit  # one small program instead of several for each shape
def _fold(blocks: list[tuple[Array, Array, Array, Array, Array]]) -> list[tuple[Array, Array]]:
    folded = []
    for kernel, scale, bias, mean, var in blocks:
        factor = scale * lax.rsqrt(var + BatchNorm.EPSILON)
        folded.append((kernel * factor, bias - mean * factor))
    return folded
