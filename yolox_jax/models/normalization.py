"""Batch norm fused with the activation that follows it, as one function with its own gradient."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

Activation = Literal["silu", "lrelu", "none"]


def _leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.leaky_relu(x, 0.1)


ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "lrelu": _leaky_relu,
    "none": lambda x: x,
}


class Norm(NamedTuple):
    """A batch norm with the statistics of the batch, followed by SiLU: `silu((x - mean) * factor + bias)`."""

    mean: Float[Array, " C"]
    factor: Float[Array, " C"]
    """The scale over the standard deviation."""
    bias: Float[Array, " C"]


class BatchNorm(nnx.Module):
    """Batch normalisation as in the original: epsilon 1e-3, momentum 0.03, unbiased running variance.

    Statistics, scale and bias are float32 whatever the dtype of the input. After nnx's `train()` it normalises by the
    statistics of the batch and updates the running ones; after `eval()` it uses the running statistics
    (docs/yolox.md, 2.7).
    """

    EPSILON = 1e-3
    MOMENTUM = 0.03

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.use_running_average = False

    def __call__(
        self,
        x: Float[Array, "B H W C"],
        activation: Activation = "none",
        axis_name: str | None = None,
        for_gpu: bool = False,
    ) -> Float[Array, "B H W C"]:
        """Normalise `x`, then apply the activation.

        Args:
            x: features.
            activation: applied to the normalised features.
            axis_name: mapped axis the batch is split over, to take statistics over the whole batch; None takes those of
                `x` alone.
            for_gpu: whether to train in the form that moves fewer bytes on GPUs; it is slower on CPUs.
        """
        scale, bias = self.scale[...], self.bias[...]
        if self.use_running_average:
            factor = scale * lax.rsqrt(self.var[...] + self.EPSILON)
            normal = x.astype(jnp.float32) * factor + (bias - self.mean[...] * factor)
            return ACTIVATIONS[activation](normal).astype(x.dtype)
        y, mean, var = _normalise(x, scale, bias, self.EPSILON, activation, axis_name, for_gpu)
        self.update_running_statistics(mean, var, count_of(x, axis_name))
        return y

    def update_running_statistics(self, mean: Float[Array, " C"], var: Float[Array, " C"], count: int) -> None:
        """Moves the running statistics towards those of a batch of `count` values."""
        unbiased = var * (count / max(count - 1, 1))
        # set_value, because assigning to [...] compares shardings, which adds seconds to the tracing of nano.
        self.mean.set_value((1 - self.MOMENTUM) * self.mean[...] + self.MOMENTUM * mean)
        self.var.set_value((1 - self.MOMENTUM) * self.var[...] + self.MOMENTUM * unbiased)


def batch_norm_side_by_side(
    norms: Sequence[BatchNorm], x: Float[Array, "B H W C"], activation: Activation, axis_name: str | None
) -> list[Float[Array, "B H W _"]]:
    """Outputs of several layers in training, each of its own channels of `x`, in the form for GPUs."""
    scale = jnp.concatenate([norm.scale[...] for norm in norms])
    bias = jnp.concatenate([norm.bias[...] for norm in norms])
    y, mean, var = _normalise(x, scale, bias, BatchNorm.EPSILON, activation, axis_name, True)
    ends = np.cumsum([norm.scale[...].size for norm in norms])[:-1]
    for norm, own_mean, own_var in zip(norms, jnp.split(mean, ends), jnp.split(var, ends), strict=True):
        norm.update_running_statistics(own_mean, own_var, count_of(x, axis_name))
    return jnp.split(y, ends, axis=-1)


# The gradient is written out so that only the input is stored for the backward pass, in its own dtype, and read twice.
# jax's own would store three float32 arrays and read them more often.
@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def _normalise(
    x: Float[Array, "B H W C"],
    scale: Float[Array, " C"],
    bias: Float[Array, " C"],
    epsilon: float,
    activation: Activation,
    axis_name: str | None,
    for_gpu: bool,
) -> tuple[Float[Array, "B H W C"], Float[Array, " C"], Float[Array, " C"]]:
    """The output, and the mean and biased variance of the batch. Gradients flow through the output only."""
    return _normalise_forward(x, scale, bias, epsilon, activation, axis_name, for_gpu)[0]


def _normalise_forward(
    x: Array,
    scale: Array,
    bias: Array,
    epsilon: float,
    activation: Activation,
    axis_name: str | None,
    for_gpu: bool,
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array, Array, Array]]:
    mean, var = batch_statistics(x.astype(jnp.float32), axis_name, for_gpu)
    inverse = lax.rsqrt(var + epsilon)
    factor = scale * inverse
    y = ACTIVATIONS[activation](x.astype(jnp.float32) * factor + (bias - mean * factor)).astype(x.dtype)
    return (y, mean, var), (x, scale, bias, mean, inverse)


def _normalise_backward(
    epsilon: float,
    activation: Activation,
    axis_name: str | None,
    for_gpu: bool,
    saved: tuple[Array, Array, Array, Array, Array],
    gradients: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    x, scale, _, _, inverse = saved
    normal, inner, *totals = gradient_sums(saved, gradients[0], activation, for_gpu)
    bias_gradient, scale_gradient = totals
    if axis_name is not None:
        totals = lax.psum(totals, axis_name)
    if for_gpu:
        x, totals = lax.optimization_barrier((x, totals))
        normal, inner = _normal_and_inner((x, *saved[1:]), gradients[0], activation)
    x_gradient = scale * inverse * (inner - (totals[0] + normal * totals[1]) / count_of(x, axis_name))
    return x_gradient.astype(x.dtype), scale_gradient, bias_gradient


_normalise.defvjp(_normalise_forward, _normalise_backward)


def gradient_sums(
    saved: tuple[Array, Array, Array, Array, Array],
    gradient: Float[Array, "B H W C"],
    activation: Activation,
    for_gpu: bool,
) -> tuple[Float[Array, "B H W C"], Float[Array, "B H W C"], Float[Array, " C"], Float[Array, " C"]]:
    """Gradients of bias and scale, behind the arrays that they sum up.

    Args:
        saved: features, scale, bias, mean and inverse standard deviation.
        gradient: that of the activated features.
        activation: applied to the normalised features.
        for_gpu: as for `BatchNorm`.

    Returns:
        Normalised features, the gradient before the activation, and its sums with factors of 1 and of the normalised
        features.
    """
    # XLA for GPUs would write an array with several uses to memory, in float32. Behind a barrier, it does not see that
    # each use computes it again.
    normal, inner = _normal_and_inner(saved, gradient, activation)
    of_bias = inner
    if for_gpu:
        x, *others = saved
        normal, inner = _normal_and_inner((lax.optimization_barrier(x), *others), gradient, activation)
    return normal, inner, *_sums(of_bias, inner * normal, for_gpu)


def _normal_and_inner(saved: tuple[Array, ...], gradient: Array, activation: Activation) -> tuple[Array, Array]:
    """Normalised features, and the gradient before the activation."""
    x, scale, bias, mean, inverse = saved
    normal = (x.astype(jnp.float32) - mean) * inverse
    _, pull_back = jax.vjp(ACTIVATIONS[activation], normal * scale + bias)
    return normal, *pull_back(gradient.astype(jnp.float32))


def batch_statistics(
    x: Float[Array, "B H W C"], axis_name: str | None, for_gpu: bool
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Mean and variance of each channel."""
    # Both sums take one pass over x. Values are taken relative to the channel's first one, because E[x^2] - E[x]^2
    # loses precision where the mean is far from zero.
    origin = x[0, 0, 0]
    total, total_square = _sums(x - origin, jnp.square(x - origin), for_gpu)
    count = count_of(x, None)
    offset = total / count
    mean = origin + offset
    var = jnp.maximum(total_square / count - jnp.square(offset), 0.0)
    return statistics_over_axis(mean, var, axis_name)


def statistics_over_axis(
    mean: Float[Array, " C"], var: Float[Array, " C"], axis_name: str | None
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Mean and variance of the whole batch, from those of the part on each device."""
    if axis_name is None:
        return mean, var
    # One collective for both. The variance is taken about the common mean because E[x^2] - E[x]^2 is not precise.
    means, vars_ = lax.all_gather(jnp.stack([mean, var]), axis_name, axis=1)
    mean = jnp.mean(means, axis=0)
    return mean, jnp.mean(vars_ + jnp.square(means - mean), axis=0)


def _sums(
    a: Float[Array, "B H W C"], b: Float[Array, "B H W C"], for_gpu: bool
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Sums of each channel of two arrays."""
    if not for_gpu:
        return jnp.sum(a, axis=(0, 1, 2)), jnp.sum(b, axis=(0, 1, 2))
    # One reduction of pairs instead of two: XLA takes two kernels for a reduction.
    zero = jnp.zeros((), a.dtype)
    sums: tuple[Array, Array] = lax.reduce(
        (a, b), (zero, zero), lambda x, y: (x[0] + y[0], x[1] + y[1]), dimensions=(0, 1, 2)
    )
    return sums


def count_of(x: Float[Array, "B H W C"], axis_name: str | None) -> int:
    """Number of values behind the statistics of a channel."""
    local_count = x.size // x.shape[-1]
    return local_count if axis_name is None else local_count * int(lax.psum(1, axis_name))
