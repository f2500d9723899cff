"""Convolution, by default in the form that runs fastest on the current backend."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.models import cpu_convolution
from yolox_jax.models.forward_options import ConvolutionForm


def conv2d(
    x: Float[Array, "B H W I"],
    kernel: Float[Array, "K K I_per_group O"],
    stride: int = 1,
    groups: int = 1,
    form: ConvolutionForm = "backend",
) -> Float[Array, "B H2 W2 O"]:
    """Convolution with symmetric padding of (K - 1) // 2, as in PyTorch, computed in the dtype of `x`.

    XLA runs some convolutions slowly on CPUs. There, 1x1 convolutions become matrix products and depthwise ones a sum
    of shifted images: nano's training step takes 0.8 s instead of 2.2 s (docs/performance.md). Results agree to
    rounding.

    Args:
        x: images or features.
        kernel: square, of odd size; [K, K, 1, C] for a depthwise convolution.
        stride: stride along both axes.
        groups: 1, or the number of channels for a depthwise convolution.
        form: primitives that compute the convolution.
    """
    kernel = kernel.astype(x.dtype)
    on_cpu = functools.partial(_on_cpu, stride=stride, groups=groups)
    primitive = functools.partial(_primitive, stride=stride, groups=groups)
    if form == "portable":
        out: Array = lax.platform_dependent(x, kernel, cpu=on_cpu, default=primitive)
        return out
    return on_cpu(x, kernel) if form == "backend" and jax.default_backend() == "cpu" else primitive(x, kernel)


def _on_cpu(x: Array, kernel: Array, *, stride: int, groups: int) -> Array:
    if groups == 1:
        return cpu_convolution.dense(x, kernel, stride)
    if groups == x.shape[-1] == kernel.shape[-1]:
        return cpu_convolution.depthwise(x, kernel, stride)
    return _primitive(x, kernel, stride=stride, groups=groups)


def _primitive(x: Array, kernel: Array, *, stride: int, groups: int) -> Array:
    pad = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
