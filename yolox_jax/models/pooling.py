"""Max pooling whose gradient needs no scatter.

XLA's own gradient, a select-and-scatter, is slow and not deterministic on GPUs (docs/yolox.md, 6.1).
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "B H W C"], size: int) -> Float[Array, "B H W C"]:
    """Maximum over a window of `size` x `size` pixels around each pixel, at stride 1; padded with -inf.

    The gradient goes to the largest value. Among equal values it goes to the first, row by row, as in PyTorch.
    """
    # Along the width first: this picks the first of equal values in a row, then the first row.
    return _along(_along(x, size, 2), size, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _along(x: Float[Array, "B H W C"], size: int, axis: int) -> Float[Array, "B H W C"]:
    """Maximum over `size` pixels along one axis."""
    return functools.reduce(jnp.maximum, _shifts(x, size, axis, -jnp.inf))


def _along_forward(x: Array, size: int, axis: int) -> tuple[Array, tuple[Array, Array]]:
    largest = _along(x, size, axis)
    return largest, (x, largest)


def _along_backward(size: int, axis: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    x, largest = saved
    values = _shifts(x, size, axis, -jnp.inf)
    first = functools.reduce(
        jnp.minimum, [jnp.where(value == largest, np.int8(k), np.int8(size)) for k, value in enumerate(values)]
    )
    # Pixel k of a window is the centre of the window at the opposite offset.
    parts = [_shifts(jnp.where(first == k, gradient, 0), size, axis, 0)[size - 1 - k] for k in range(size)]
    return (functools.reduce(operator.add, parts),)


_along.defvjp(_along_forward, _along_backward)


def _shifts(x: Array, size: int, axis: int, fill: float) -> list[Array]:
    """The values at each position of the windows along an axis; `fill` outside the image."""
    pad = (size - 1) // 2
    padding = [(pad, pad) if dimension == axis else (0, 0) for dimension in range(x.ndim)]
    padded = jnp.pad(x, padding, constant_values=fill)
    return [lax.slice_in_dim(padded, k, k + x.shape[axis], axis=axis) for k in range(size)]
