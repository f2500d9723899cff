"""1x1 convolutions fused with batch norm and SiLU before and behind them, for training on NVIDIA GPUs."""

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

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
    statistics_over_axis,
)


class Unnormalised(NamedTuple):
    """Features before their batch norm and SiLU, for a layer that computes both while it reads them."""

    x: Float[Array, "B H W C"]
    norm: Norm


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
    x: Sequence[Float[Array, "B H W _"]] | Unnormalised,
    options: ForwardOptions,
) -> list[Float[Array, "B H W _"]]:
    """Outputs of blocks of the same input, of 1x1 convolution, batch norm and SiLU, computed as one.

    Args:
        kernels: of the convolutions.
        norms: of the blocks; the running statistics are updated.
        x: the input; several arrays are parts of it, one channel behind the other.
        options: the devices over which the statistics are taken.
    """
    parts, norm = ([x.x], x.norm) if isinstance(x, Unnormalised) else (list(x), None)
    weights = jnp.concatenate([kernel[0, 0] for kernel in kernels], axis=-1)
    of_norms = [(bn.scale[...], bn.bias[...]) for bn in norms]
    axis_name = options.batch_norm_axis
    y, statistics = _blocks(parts, norm, weights, of_norms, axis_name, options.pointwise == "interpreted")
    for bn, (mean, var) in zip(norms, statistics, strict=True):
        bn.update_running_statistics(mean, var, count_of(parts[0], axis_name))
    return y


# As for a batch norm by itself, the output of the convolution is all that is kept for the backward pass.
@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _blocks(
    x: list[Float[Array, "B H W _"]],
    norm: Norm | None,
    weights: Float[Array, "I O"],
    norms: list[tuple[Float[Array, " _"], Float[Array, " _"]]],
    axis_name: str | None,
    interpret: bool,
) -> tuple[list[Float[Array, "B H W _"]], list[tuple[Float[Array, " _"], Float[Array, " _"]]]]:
    """The output of each block, and the mean and biased variance of the batch. Gradients flow through the outputs.

    Args:
        x: parts of the input.
        norm: a batch norm with SiLU to apply to the input first.
        weights: of the convolutions of all blocks.
        norms: scale and bias of each block.
        axis_name: as for `BatchNorm`.
        interpret: whether to compute with XLA's operations.
    """
    return _blocks_forward(x, norm, weights, norms, axis_name, interpret)[0]


def _blocks_forward(
    x: list[Array],
    norm: Norm | None,
    weights: Array,
    norms: list[tuple[Array, Array]],
    axis_name: str | None,
    interpret: bool,
) -> tuple[tuple[list[Array], list[tuple[Array, Array]]], tuple[Any, ...]]:
    matrix = weights.astype(x[0].dtype)
    out, mean, var = gpu_kernels().forward([_pixels(part) for part in x], norm, matrix, interpret=interpret)
    mean, var = statistics_over_axis(mean, var, axis_name)
    out = out.reshape(*x[0].shape[:3], -1)
    y, statistics, start = [], [], 0
    for scale, bias in norms:
        own = slice(start, start + scale.size)
        factor = scale * lax.rsqrt(var[own] + BatchNorm.EPSILON)
        normal = out[..., own].astype(jnp.float32) * factor + (bias - mean[own] * factor)
        y.append(jax.nn.silu(normal).astype(out.dtype))
        statistics.append((mean[own], var[own]))
        start = own.stop
    return (y, statistics), (x, norm, weights, norms, out, statistics)


def _blocks_backward(
    axis_name: str | None, interpret: bool, saved: tuple[Any, ...], gradients: tuple[list[Array], Any]
) -> tuple[Any, ...]:
    x, norm, weights, norms, out, statistics = saved
    # Behind a barrier of its own, because the one in `gradient_sums` would otherwise separate the reshaped output from
    # the one before, and sums would read both.
    out = lax.optimization_barrier(out)
    norms_gradient, columns, start = [], [], 0
    for gradient, (scale, bias), (mean, var) in zip(gradients[0], norms, statistics, strict=True):
        inverse = lax.rsqrt(var + BatchNorm.EPSILON)
        own = out[..., start : start + scale.size]
        _, _, of_bias, of_scale = gradient_sums((own, scale, bias, mean, inverse), gradient, "silu", True)
        norms_gradient.append((of_scale, of_bias))
        if axis_name is not None:
            of_bias, of_scale = lax.psum((of_bias, of_scale), axis_name)
        factor = scale * inverse
        share = -factor / count_of(out, axis_name)
        columns.append((mean, factor, bias, share * of_bias, share * of_scale * inverse))
        start += scale.size
    *out_norm, of_mean, slope = (jnp.concatenate(parts) for parts in zip(*columns, strict=True))
    found = gpu_kernels().backward(
        [_pixels(part) for part in x],
        norm,
        weights.astype(out.dtype),
        _pixels(out),
        Norm(*out_norm),
        [_pixels(gradient) for gradient in gradients[0]],
        (of_mean, slope),
        interpret=interpret,
    )
    x_gradient = [gradient.reshape(part.shape) for gradient, part in zip(found.x, x, strict=True)]
    return x_gradient, found.norm, found.weights, norms_gradient


_blocks.defvjp(_blocks_forward, _blocks_backward)


def _pixels(x: Float[Array, "B H W C"]) -> Float[Array, "P C"]:
    return x.reshape(-1, x.shape[-1])


def gpu_kernels() -> ModuleType:
    """The module of the kernels, imported on use: Pallas is experimental, and its part for Triton is deprecated."""
    return importlib.import_module("yolox_jax.models.pointwise_kernels")
