"""1x1 convolutions fused with batch norm and SiLU before and behind them, for training on NVIDIA GPUs."""

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import (
    BatchNorm,
    Norm,
    batch_statistics,
    count_of,
    gradient_sums,
    split_between,
    statistics_over_axis,
)

MAX_WEIGHTS = 128 * 256
"""Weights that the kernels can hold: their gradient in float32 takes half of the registers of a multiprocessor."""


class Unnormalised(NamedTuple):
    """Features before their batch norm and SiLU, for a layer that computes both while it reads them."""

    x: Float[Array, "B H W C"]
    norm: Norm


def fits(inputs: int, outputs: int) -> bool:
    """Whether the kernels can hold the weights of a 1x1 convolution with these numbers of channels."""
    return _kernels().padded(inputs) * _kernels().padded(outputs) <= MAX_WEIGHTS


def unnormalised(x: Float[Array, "B H W C"], bn: BatchNorm, axis_name: str | None) -> Unnormalised:
    """Takes the statistics of the output of a convolution and updates the running ones of its batch norm."""
    mean, var = _statistics(x, axis_name)
    bn.update_running_statistics(mean, var, count_of(x, axis_name))
    return Unnormalised(x, Norm(mean, bn.scale[...] * lax.rsqrt(var + bn.EPSILON), bn.bias[...]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _statistics(x: Float[Array, "B H W C"], axis_name: str | None) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Mean and biased variance of each channel of the batch."""
    return batch_statistics(x.astype(jnp.float32), axis_name, True)


def _statistics_forward(x: Array, axis_name: str | None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    mean, var = _statistics(x, axis_name)
    return (mean, var), (x, mean)


def _statistics_backward(
    axis_name: str | None, saved: tuple[Array, Array], gradients: tuple[Array, Array]
) -> tuple[Array]:
    x, mean = saved
    if axis_name is not None:
        gradients = lax.psum(gradients, axis_name)
    of_mean, of_var = (gradient / count_of(x, axis_name) for gradient in gradients)
    return ((of_mean + 2 * of_var * (x.astype(jnp.float32) - mean)).astype(x.dtype),)


_statistics.defvjp(_statistics_forward, _statistics_backward)


def fused_blocks(
    kernels: Sequence[Float[Array, "1 1 I _"]],
    norms: Sequence[BatchNorm],
    x: Float[Array, "B H W I"] | Unnormalised,
    options: ForwardOptions,
) -> list[Float[Array, "B H W _"]]:
    """Outputs of blocks of the same input, of 1x1 convolution, batch norm and SiLU, computed as one."""
    x, norm = x if isinstance(x, Unnormalised) else (x, None)
    weights = jnp.concatenate([kernel[0, 0] for kernel in kernels], axis=-1)
    scale = jnp.concatenate([bn.scale[...] for bn in norms])
    bias = jnp.concatenate([bn.bias[...] for bn in norms])
    y, mean, var = _block(x, norm, weights, scale, bias, options.batch_norm_axis, options.pointwise == "interpreted")
    return split_between(norms, y, mean, var, count_of(x, options.batch_norm_axis))


# As for a batch norm by itself, the output of the convolution is all that is kept for the backward pass.
@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _block(
    x: Float[Array, "B H W I"],
    norm: Norm | None,
    weights: Float[Array, "I O"],
    scale: Float[Array, " O"],
    bias: Float[Array, " O"],
    axis_name: str | None,
    interpret: bool,
) -> tuple[Float[Array, "B H W O"], Float[Array, " O"], Float[Array, " O"]]:
    """The output, and the mean and biased variance of the batch. Gradients flow through the output only."""
    return _block_forward(x, norm, weights, scale, bias, axis_name, interpret)[0]


def _block_forward(
    x: Array,
    norm: Norm | None,
    weights: Array,
    scale: Array,
    bias: Array,
    axis_name: str | None,
    interpret: bool,
) -> tuple[tuple[Array, Array, Array], tuple[Array | Norm | None, ...]]:
    out, mean, var = _kernels().forward(_pixels(x), norm, weights.astype(x.dtype), interpret=interpret)
    mean, var = statistics_over_axis(mean, var, axis_name)
    out = out.reshape(*x.shape[:3], -1)
    inverse = lax.rsqrt(var + BatchNorm.EPSILON)
    factor = scale * inverse
    y = jax.nn.silu(out.astype(jnp.float32) * factor + (bias - mean * factor)).astype(x.dtype)
    return (y, mean, var), (x, norm, weights, out, scale, bias, mean, inverse)


def _block_backward(
    axis_name: str | None, interpret: bool, saved: tuple, gradients: tuple[Array, Array, Array]
) -> tuple[Array | Norm | None, ...]:
    x, norm, weights, *of_out = saved
    out, scale, bias, mean, inverse = of_out
    _, _, *totals = gradient_sums(tuple(of_out), gradients[0], "silu", True)
    bias_gradient, scale_gradient = totals
    if axis_name is not None:
        totals = lax.psum(totals, axis_name)
    factor = scale * inverse
    of_bias, of_scale = (-factor * total / count_of(out, axis_name) for total in totals)
    found = _kernels().backward(
        _pixels(x),
        norm,
        weights.astype(x.dtype),
        _pixels(out),
        Norm(mean, factor, bias),
        _pixels(gradients[0]),
        (of_bias, of_scale * inverse),
        interpret=interpret,
    )
    return found.x.reshape(x.shape), found.norm, found.weights, scale_gradient, bias_gradient


_block.defvjp(_block_forward, _block_backward)


def _pixels(x: Float[Array, "B H W C"]) -> Float[Array, "P C"]:
    return x.reshape(-1, x.shape[-1])


def _kernels() -> ModuleType:
    """Imported on use: Pallas is experimental, and its part for Triton is deprecated."""
    return importlib.import_module("yolox_jax.models.pointwise_kernels")
