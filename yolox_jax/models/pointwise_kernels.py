"""Kernels of a 1x1 convolution with what lies around it, written in Pallas and compiled by Triton for NVIDIA GPUs.

A 1x1 convolution multiplies a matrix of pixels and input channels by one of weights. It takes less time than its input
and output take to be read and written, so each of these kernels does in one pass what would otherwise be several. The
one of the forward pass applies the batch norm and SiLU of its input and takes the statistics of its output. The one of
the backward pass goes back through the batch norm and SiLU of the output and computes both gradients.

Each program of a kernel keeps all weights and goes through its share of the pixels block by block. Sums are written
program by program and added afterwards, so that their order is always the same.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from yolox_jax.models.normalization import Norm
from yolox_jax.models.padded_matrices import all_rows, padded, read, read_parts, read_row, write, write_parts, write_row

Parts = Sequence[Float[Array, "P _"]]
"""Matrices whose columns follow each other, as if they were one."""

# Not tuned: no card was at hand.
FORWARD_PROGRAMS = 1024
BACKWARD_PROGRAMS = 128
"""Fewer, because each writes a gradient of all weights."""
BLOCK = 64
"""Pixels of a block."""
WARPS = 8
STAGES = 2

MAX_WEIGHTS = 128 * 128
"""Weights that the kernels can hold: their gradient in float32 takes a quarter of the registers of a multiprocessor.
With half of them, the compiler runs out of registers."""


def fits(inputs: int, outputs: int) -> bool:
    """Whether the kernels can hold the weights of a 1x1 convolution with these numbers of channels."""
    return padded(inputs) * padded(outputs) <= MAX_WEIGHTS


def forward(
    x: Parts, norm: Norm | None, weights: Float[Array, "I O"], *, interpret: bool = False
) -> tuple[Float[Array, "P O"], Float[Array, " O"], Float[Array, " O"]]:
    """Product of the pixels and the weights, and the mean and biased variance of each of its channels.

    Args:
        x: the input in parts, or if `norm` is given, the input before its batch norm and SiLU.
        norm: applied to `x` on the way; None: `x` is the input.
        weights: the kernel, in the dtype of `x`.
        interpret: compute with XLA's operations instead, on any backend, for tests.
    """
    pixels, outputs = x[0].shape[0], weights.shape[1]
    programs = _programs(pixels, FORWARD_PROGRAMS)
    out, statistics = pl.pallas_call(
        functools.partial(_forward_kernel, programs=programs),
        grid=(programs,),
        out_shape=(
            jax.ShapeDtypeStruct((pixels, outputs), weights.dtype),
            jax.ShapeDtypeStruct((programs, 2, outputs), jnp.float32),
        ),
        out_specs=(pl.BlockSpec(), _one_each(2, outputs)),
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        interpret=interpret,
        name="pointwise_forward",
    )(x, weights, _stacked(norm))
    means, squares = statistics[:, 0], statistics[:, 1]
    counts = _pixels_by_program(pixels, programs)[:, None]
    mean = jnp.sum(means * (counts / pixels), axis=0)
    return out, mean, (jnp.sum(squares, axis=0) + jnp.sum(jnp.square(means - mean) * counts, axis=0)) / pixels


def _forward_kernel(x_refs, weights_ref, norm_ref, out_ref, statistics_ref, *, programs: int):  # type: ignore[no-untyped-def]
    pixels = out_ref.shape[0]
    weights = read(weights_ref, all_rows(weights_ref))
    program = pl.program_id(0)

    def block(step: Array, totals: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows = (step * programs + program) * BLOCK + jnp.arange(BLOCK)
        x = read_parts(x_refs, rows)
        if norm_ref is not None:
            x = _silu(_normalised(x.astype(jnp.float32), norm_ref)).astype(x.dtype)
        out = _product(x, weights, 1, 0).astype(out_ref.dtype)
        write(out_ref, rows, out)
        # Mean and sum of squares about it for this block, joined with those of the blocks before it, because
        # E[x^2] - E[x]^2 loses precision where the mean is far from zero.
        is_inside = (rows < pixels)[:, None]
        own_count = jnp.sum(is_inside.astype(jnp.float32))
        out = jnp.where(is_inside, out.astype(jnp.float32), 0.0)
        own_mean = jnp.sum(out, axis=0) / jnp.maximum(own_count, 1.0)
        own_squares = jnp.sum(jnp.where(is_inside, jnp.square(out - own_mean), 0.0), axis=0)
        count, mean, squares = totals
        both = jnp.maximum(count + own_count, 1.0)
        offset = own_mean - mean
        mean += offset * (own_count / both)
        squares += own_squares + jnp.square(offset) * (count * own_count / both)
        return count + own_count, mean, squares

    zeros = jnp.zeros(weights.shape[1], jnp.float32)
    start = (jnp.zeros((), jnp.float32), zeros, zeros)
    _, mean, squares = lax.fori_loop(0, _steps(pixels, programs), block, start)
    for number, values in enumerate((mean, squares)):
        write_row(statistics_ref, number, values)


class Gradients(NamedTuple):
    """Gradients of a 1x1 convolution."""

    x: Parts
    weights: Float[Array, "I O"]
    """In float32."""
    norm: Norm | None
    """Of the batch norm before it, if there is one."""


def backward(
    x: Parts,
    norm: Norm | None,
    weights: Float[Array, "I O"],
    out: Float[Array, "P O"],
    out_norm: Norm,
    gradient: Parts,
    correction: tuple[Float[Array, " O"], Float[Array, " O"]],
    *,
    interpret: bool = False,
) -> Gradients:
    """Gradients of the convolution, from that of its output after batch norm and SiLU.

    Args:
        x: as in the forward pass.
        norm: as in the forward pass.
        weights: as in the forward pass.
        out: what `forward` returned.
        out_norm: the batch norm of `out`.
        gradient: that of `silu((out - mean) * factor + bias)` in parts, in the dtype of `x`.
        correction: what is added to the gradient of `out` because its statistics depend on it: the values for each
            channel where `out` is the mean, and the slopes over `out`.
        interpret: as in `forward`.
    """
    pixels, (inputs, outputs) = out.shape[0], weights.shape
    programs = _programs(pixels, BACKWARD_PROGRAMS)
    x_gradient, weight_gradients, sums = pl.pallas_call(
        functools.partial(_backward_kernel, programs=programs),
        grid=(programs,),
        out_shape=(
            [jax.ShapeDtypeStruct(part.shape, part.dtype) for part in x],
            jax.ShapeDtypeStruct((programs, inputs, outputs), jnp.float32),
            None if norm is None else jax.ShapeDtypeStruct((programs, 2, inputs), jnp.float32),
        ),
        out_specs=(
            [pl.BlockSpec() for _ in x],
            _one_each(inputs, outputs),
            None if norm is None else _one_each(2, inputs),
        ),
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        interpret=interpret,
        name="pointwise_backward",
    )(x, weights, _stacked(norm), out, jnp.stack([*out_norm, *correction]), gradient)
    norm_gradient = None
    if norm is not None:
        of_bias, of_factor = jnp.sum(sums, axis=0)
        norm_gradient = Norm(-norm.factor * of_bias, of_factor, of_bias)
    return Gradients(x_gradient, jnp.sum(weight_gradients, axis=0), norm_gradient)


def _backward_kernel(  # type: ignore[no-untyped-def]
    x_refs,
    weights_ref,
    norm_ref,
    out_ref,
    out_norm_ref,
    gradient_refs,
    x_gradient_refs,
    weight_gradients_ref,
    sums_ref,
    *,
    programs: int,
):
    pixels = out_ref.shape[0]
    weights = read(weights_ref, all_rows(weights_ref))
    program = pl.program_id(0)

    def block(step: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        rows = (step * programs + program) * BLOCK + jnp.arange(BLOCK)
        out = read(out_ref, rows).astype(jnp.float32)
        inner = read_parts(gradient_refs, rows).astype(jnp.float32) * _silu_slope(_normalised(out, out_norm_ref))
        mean, factor, _, shift, slope = (read_row(out_norm_ref, number) for number in range(5))
        out_gradient = inner * factor + (shift + slope * (out - mean))
        is_inside = (rows < pixels)[:, None]
        out_gradient = jnp.where(is_inside, out_gradient, 0.0).astype(weights.dtype)
        x_gradient = _product(out_gradient, weights, 1, 1)
        y = x = read_parts(x_refs, rows)
        sums: tuple[Array, ...] = ()
        if norm_ref is not None:
            centred = x.astype(jnp.float32) - read_row(norm_ref, 0)
            normal = _normalised(x.astype(jnp.float32), norm_ref)
            y = _silu(normal).astype(x.dtype)
            inner = x_gradient * _silu_slope(normal)
            x_gradient = inner * read_row(norm_ref, 1)
            sums = jnp.sum(inner, axis=0), jnp.sum(inner * centred, axis=0)
        write_parts(x_gradient_refs, rows, x_gradient.astype(x.dtype))
        weight_gradient = _product(y, out_gradient, 0, 0)
        return tuple(total + own for total, own in zip(totals, (weight_gradient, *sums), strict=True))

    zeros = jnp.zeros(weights.shape[0], jnp.float32)
    start = (jnp.zeros(weights.shape, jnp.float32), *([] if norm_ref is None else [zeros, zeros]))
    weight_gradient, *sums = lax.fori_loop(0, _steps(pixels, programs), block, start)
    write(weight_gradients_ref, all_rows(weights_ref), weight_gradient)
    for number, values in enumerate(sums):
        write_row(sums_ref, number, values)


def _stacked(norm: Norm | None) -> Array | None:
    return None if norm is None else jnp.stack(norm)


def _normalised(x: Array, norm_ref) -> Array:  # type: ignore[no-untyped-def]
    return (x - read_row(norm_ref, 0)) * read_row(norm_ref, 1) + read_row(norm_ref, 2)


def _silu(x: Array) -> Array:
    return x * jax.nn.sigmoid(x)


def _silu_slope(x: Array) -> Array:
    sigmoid = jax.nn.sigmoid(x)
    return sigmoid * (1 + x * (1 - sigmoid))


def _product(a: Array, b: Array, axis_a: int, axis_b: int) -> Array:
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32)


def _programs(pixels: int, at_most: int) -> int:
    return min(pl.cdiv(pixels, BLOCK), at_most)


def _steps(pixels: int, programs: int) -> int:
    """Blocks of each program; the last ones may lie behind the last pixel."""
    return pl.cdiv(pl.cdiv(pixels, BLOCK), programs)


def _pixels_by_program(pixels: int, programs: int) -> np.ndarray:
    starts = BLOCK * np.arange(_steps(pixels, programs) * programs)
    return np.clip(pixels - starts, 0, BLOCK).reshape(-1, programs).sum(0).astype(np.float32)


def _one_each(rows: int, columns: int) -> pl.BlockSpec:
    """Gives each program a matrix of its own, of those in an array."""
    return pl.BlockSpec((None, rows, columns), lambda program: (program, 0, 0))
