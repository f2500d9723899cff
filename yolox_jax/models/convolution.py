"""Convolution, in the form that runs fastest on the backend at hand."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Literal

import jax
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.models import cpu_convolution

_forms: contextvars.ContextVar[Literal["here", "plain", "any"]] = contextvars.ContextVar("forms", default="here")


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Within it, what is traced uses one convolution primitive for each convolution, on every backend."""
    token = _forms.set("plain")
    try:
        yield
    finally:
        _forms.reset(token)


@contextlib.contextmanager
def convolutions_for_any_platform() -> Iterator[None]:
    """Within it, what is traced holds the forms of all platforms, for an export that is to run on more than one."""
    token = _forms.set("any")
    try:
        yield
    finally:
        _forms.reset(token)


def conv2d(
    x: Float[Array, "B H W I"], kernel: Float[Array, "K K I_per_group O"], stride: int = 1, groups: int = 1
) -> Float[Array, "B H2 W2 O"]:
    """Convolution with symmetric padding of (K - 1) // 2, as PyTorch's, computed in the type of `x`.

    XLA's CPU convolutions are slow for some forms (nano's training step: 2.2 s against 0.8 s, PITFALLS 2.13), so there
    1x1 convolutions become matrix products and depthwise ones a sum of shifted images. Results agree to rounding.

    Args:
        x: images or features.
        kernel: square and odd; for a depthwise convolution [K, K, 1, C].
        stride: step along both axes.
        groups: 1, or the number of channels for a depthwise convolution.
    """
    kernel = kernel.astype(x.dtype)
    on_cpu = functools.partial(_on_cpu, stride=stride, groups=groups)
    plain = functools.partial(_plain, stride=stride, groups=groups)
    forms = _forms.get()
    if forms == "any":
        found: Array = lax.platform_dependent(x, kernel, cpu=on_cpu, default=plain)
        return found
    return on_cpu(x, kernel) if forms == "here" and jax.default_backend() == "cpu" else plain(x, kernel)


def _on_cpu(x: Array, kernel: Array, *, stride: int, groups: int) -> Array:
    if groups == 1:
        return cpu_convolution.dense(x, kernel, stride)
    if groups == x.shape[-1] == kernel.shape[-1]:
        return cpu_convolution.depthwise(x, kernel, stride)
    return _plain(x, kernel, stride=stride, groups=groups)


def _plain(x: Array, kernel: Array, *, stride: int, groups: int) -> Array:
    pad = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
