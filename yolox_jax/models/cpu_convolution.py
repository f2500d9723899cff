"""Convolutions for XLA on CPUs, where its own are slow in some forms, and most of their gradients are.

In the forward pass, the convolution primitive is the fastest for dense kernels larger than 1x1. Its gradients are
rewritten as matrix products that read the images a few times and need no scatter. `docs/performance.md` lists what each
form gains.
"""

import functools
import itertools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: Float[Array, "B H W C"], kernel: Float[Array, "K K 1 C"], stride: int) -> Float[Array, "B H2 W2 C"]:
    """Depthwise convolution: the sum over the K * K taps of the shifted input times the tap's weights."""
    shifted = _shifted_inputs(x, kernel.shape[0], stride)
    taps = jnp.unstack(kernel.reshape(-1, kernel.shape[-1]))
    return _sum([image * tap for image, tap in zip(shifted, taps, strict=True)])


def _depthwise_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel, stride), (x, kernel)


def _depthwise_backward(stride: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, gradient = lax.optimization_barrier((saved[0], gradient))
    kernel = saved[1]
    size, (height, width) = kernel.shape[0], x.shape[1:3]
    kernel_gradient = [jnp.sum(image * gradient, axis=(0, 1, 2)) for image in _shifted_inputs(x, size, stride)]
    taps, before, after = _taps(size, stride)
    padded = jnp.pad(gradient, ((0, 0), (before, after), (before, after), (0, 0)))
    cells = gradient.shape[1:3]

    def pixel(a: int, b: int) -> Array:
        """Input gradient of the pixel (a, b) of each stride x stride cell."""
        return _sum(
            [
                padded[:, i : i + cells[0], j : j + cells[1]] * kernel[taps[i, a], taps[j, b], 0]
                for i, j in itertools.product(range(len(taps)), repeat=2)
                if taps[i, a] < size and taps[j, b] < size
            ]
        )

    pixels = jnp.stack([jnp.stack([pixel(a, b) for b in range(stride)], axis=3) for a in range(stride)], axis=2)
    input_gradient = pixels.reshape(x.shape[0], stride * cells[0], stride * cells[1], x.shape[-1])[:, :height, :width]
    return input_gradient, jnp.stack(kernel_gradient).reshape(kernel.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _shifted_inputs(x: Float[Array, "B H W C"], size: int, stride: int) -> list[Array]:
    """The input pixels under each tap of a kernel, tap by tap, row by row."""
    batch, height, width, channels = x.shape
    pad = (size - 1) // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    last_row, last_column = (height - 1) // stride * stride, (width - 1) // stride * stride
    return [
        lax.slice(
            padded, (0, i, j, 0), (batch, i + last_row + 1, j + last_column + 1, channels), (1, stride, stride, 1)
        )
        for i, j in itertools.product(range(size), repeat=2)
    ]


def _sum(terms: Sequence[Array]) -> Array:
    return functools.reduce(operator.add, terms)


def dense(x: Float[Array, "B H W I"], kernel: Float[Array, "K K I O"], stride: int) -> Float[Array, "B H2 W2 O"]:
    """Convolution over all channels."""
    return _pointwise(x, kernel, stride) if kernel.shape[:2] == (1, 1) else _spatial(x, kernel, stride)


def _pointwise(x: Float[Array, "B H W I"], kernel: Float[Array, "1 1 I O"], stride: int) -> Float[Array, "B H2 W2 O"]:
    """1x1 convolution as a matrix product."""
    return _product(x[:, ::stride, ::stride], kernel[0, 0])


@jax.custom_vjp
def _product(x: Float[Array, "B H W I"], matrix: Float[Array, "I O"]) -> Float[Array, "B H W O"]:
    return jnp.einsum("bhwi,io->bhwo", x, matrix)


def _product_forward(x: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(x, matrix), (x, matrix)


def _product_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    # Each is read twice. Without the barrier, XLA would fuse what computes them into both reads.
    x, gradient = lax.optimization_barrier((saved[0], gradient))
    matrix = saved[1]
    return jnp.einsum("bhwo,io->bhwi", gradient, matrix), _summed_products(x, gradient).astype(matrix.dtype)


_product.defvjp(_product_forward, _product_backward)


def _summed_products(a: Float[Array, "*pixels I"], b: Float[Array, "*pixels O"]) -> Float[Array, "I O"]:
    """Outer products of a's and b's channels, summed over the pixels in float32."""
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    product = functools.partial(
        lax.dot_general, dimension_numbers=(((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    # XLA transposes the first operand, which is slow: pass the smaller one first.
    return product(b, a).T if a.shape[1] > b.shape[1] else product(a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _spatial(x: Float[Array, "B H W I"], kernel: Float[Array, "K K I O"], stride: int) -> Float[Array, "B H2 W2 O"]:
    """Convolution with a kernel larger than 1x1."""
    return _primitive(x, kernel, stride)


def _spatial_forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _primitive(x, kernel, stride), (x, kernel)


def _spatial_backward(stride: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, gradient = lax.optimization_barrier((saved[0], gradient))
    kernel = saved[1]
    size = kernel.shape[0]
    input_gradient = _input_gradient(gradient, kernel, x.shape[1:3], stride)
    kernel_gradient = _kernel_gradient if stride == 1 else functools.partial(_kernel_gradient_strided, stride=stride)

    def add(total: Array, image: tuple[Array, Array]) -> tuple[Array, None]:
        return total + kernel_gradient(*image, size=size), None

    # Image by image, so that the copies fit in the CPU cache.
    start = jnp.zeros(kernel.shape, jnp.float32)
    return input_gradient, lax.scan(add, start, (x, gradient))[0].astype(kernel.dtype)


_spatial.defvjp(_spatial_forward, _spatial_backward)


def _primitive(x: Float[Array, "B H W I"], kernel: Float[Array, "K K I O"], stride: int) -> Float[Array, "B H2 W2 O"]:
    pad = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _kernel_gradient(
    x: Float[Array, "H W I"], gradient: Float[Array, "H W O"], *, size: int
) -> Float[Array, "K K I O"]:
    """Of one image at stride 1: a product of K column-shifted inputs and K row-shifted output gradients."""
    height, width, inputs = x.shape
    outputs, pad = gradient.shape[-1], (size - 1) // 2
    padded = jnp.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    columns = jnp.concatenate([padded[:, j : j + width] for j in range(size)], axis=-1)
    padded = jnp.pad(gradient, ((size - 1, size - 1), (0, 0), (0, 0)))
    rows = [padded[size - 1 - i : size - 1 - i + height + 2 * pad] for i in range(size)]
    products = _summed_products(columns, jnp.concatenate(rows, axis=-1))
    return products.reshape(size, inputs, size, outputs).transpose(2, 0, 1, 3)


def _kernel_gradient_strided(
    x: Float[Array, "H W I"], gradient: Float[Array, "H2 W2 O"], *, size: int, stride: int
) -> Float[Array, "K K I O"]:
    """Of one image at any stride: a product of the patches under the kernel (im2col) and the output gradient."""
    patches = jnp.concatenate(_shifted_inputs(x[None], size, stride), axis=-1)[0]
    products = _summed_products(patches, gradient)
    return products.reshape(size, size, x.shape[-1], gradient.shape[-1])


def _input_gradient(
    gradient: Float[Array, "B H2 W2 O"], kernel: Float[Array, "K K I O"], image_size: tuple[int, int], stride: int
) -> Float[Array, "B H W I"]:
    """A stride-1 convolution that yields the pixels of each stride x stride cell as channels, then depth to space.

    Unlike a dilated convolution, it multiplies no inserted zeros.
    """
    taps, before, after = _taps(kernel.shape[0], stride)
    # An extra row and column of zeros serves pixels that meet no tap.
    cells = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))[taps][:, :, taps]  # shift, pixel, shift, pixel, I, O
    shifts, _, _, _, inputs, outputs = cells.shape
    cells = cells.transpose(0, 2, 5, 1, 3, 4).reshape(shifts, shifts, outputs, stride * stride * inputs)
    pixels = lax.conv_general_dilated(
        gradient, cells, (1, 1), ((before, after), (before, after)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    batch, height, width, _ = gradient.shape
    pixels = pixels.reshape(batch, height, width, stride, stride, inputs).transpose(0, 1, 3, 2, 4, 5)
    return pixels.reshape(batch, height * stride, width * stride, inputs)[:, : image_size[0], : image_size[1]]


def _taps(size: int, stride: int) -> tuple[np.ndarray, int, int]:
    """Find the kernel tap that connects each input pixel to each output, along one axis.

    Returns:
        A table [shift, pixel of the cell] of taps, with `size` where there is none, and the number of outputs before
        and after its own cell that a pixel contributes to.
    """
    pad = (size - 1) // 2
    # Output p = cell + shift and tap i meet pixel a of the cell where stride * p + i - pad = stride * cell + a.
    before, after = (size - 1 - pad) // stride, (stride - 1 + pad) // stride
    table = np.array(
        [[pixel + pad - stride * shift for pixel in range(stride)] for shift in range(-before, after + 1)], np.int32
    )
    return np.where((table >= 0) & (table < size), table, size), before, after
