"""Building blocks of the networks (SPEC A1.1), NHWC.

Attributes are named as in the original's state dict, so a parameter's path is nearly its key there. Blocks compute in
the type of their input; parameters and batch statistics are float32.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.models.convolution import conv2d

Activation = Literal["silu", "lrelu"]


def _leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jax.nn.leaky_relu(x, 0.1)


ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {"silu": jax.nn.silu, "lrelu": _leaky_relu}


def _uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Array:
    # NumPy, because jax.random compiles once for each shape: ten seconds for nano.
    return jnp.asarray(bound * (2 * rng.random(shape, np.float32) - 1))


class Conv(nnx.Module):
    """Convolution whose kernel and bias start uniform in +-1/sqrt(fan in), PyTorch's default (SPEC A1.7)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        use_bias: bool = False,
        rng: np.random.Generator,
    ):
        bound = (inputs // groups * size * size) ** -0.5
        shape = (size, size, inputs // groups, outputs)
        self.kernel = nnx.Param(_uniform(rng, bound, shape))
        self.bias: nnx.Param[Array] | None = nnx.data(None)
        if use_bias:
            self.bias = nnx.Param(_uniform(rng, bound, (outputs,)))
        self.stride = stride
        self.groups = groups

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H2 W2 O"]:
        x = conv2d(x, self.kernel[...], self.stride, self.groups)
        return x if self.bias is None else x + self.bias[...].astype(x.dtype)


_batch_axis: contextvars.ContextVar[str | None] = contextvars.ContextVar("batch_axis", default=None)


@contextlib.contextmanager
def batch_norm_over(axis_name: str | None) -> Iterator[None]:
    """Within it, batch norm that is traced takes its statistics over this mapped axis too; None for one device's."""
    token = _batch_axis.set(axis_name)
    try:
        yield
    finally:
        _batch_axis.reset(token)


class BatchNorm(nnx.Module):
    """Batch normalisation as the original's: epsilon 1e-3, momentum 0.03, unbiased running variance (SPEC A1.7).

    Statistics and factors are float32 whatever the type of the input. nnx's `train()` and `eval()` choose between the
    statistics of the batch and the running ones; only the former updates the latter.
    """

    EPSILON = 1e-3
    MOMENTUM = 0.03

    def __init__(self, features: int):
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.use_running_average = False

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        x32 = x.astype(jnp.float32)
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            mean, var, count = _batch_statistics(x32)
            self._update(mean, var, count)
        scale = self.scale[...] * lax.rsqrt(var + self.EPSILON)
        shift = self.bias[...] - mean * scale
        # In float32, so that the gradients of scale and shift are summed in float32 too; XLA fuses the casts.
        return (x32 * scale + shift).astype(x.dtype)

    def _update(self, mean: Float[Array, " C"], var: Float[Array, " C"], count: int) -> None:
        unbiased = var * (count / max(count - 1, 1))
        # set_value, because assigning to [...] compares shardings, which costs seconds while nano is traced.
        self.mean.set_value((1 - self.MOMENTUM) * self.mean[...] + self.MOMENTUM * mean)
        self.var.set_value((1 - self.MOMENTUM) * self.var[...] + self.MOMENTUM * unbiased)


def _batch_statistics(x: Float[Array, "B H W C"]) -> tuple[Float[Array, " C"], Float[Array, " C"], int]:
    """Mean and variance of each channel, and the number of values they are taken over."""
    count, axis = x.size // x.shape[-1], _batch_axis.get()
    mean = jnp.mean(x, axis=(0, 1, 2))
    # The variance does not change with the mean it is taken about, to first order: no gradient through it.
    var = jnp.mean(jnp.square(x - lax.stop_gradient(mean)), axis=(0, 1, 2))
    if axis is None:
        return mean, var, count
    # One collective for both; about the common mean, rather than as E[x^2] - E[x]^2, which cancels.
    means, vars_ = lax.all_gather(jnp.stack([mean, var]), axis, axis=1)
    mean = jnp.mean(means, axis=0)
    var = jnp.mean(vars_ + jnp.square(means - mean), axis=0)
    return mean, var, count * means.shape[0]


class BaseConv(nnx.Module):
    """Convolution, batch norm, activation. `bn` is None once folded into the convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        activation: Activation = "silu",
        rng: np.random.Generator,
    ):
        self.conv = Conv(inputs, outputs, size, stride, groups, rng=rng)
        self.bn: BatchNorm | None = nnx.data(BatchNorm(outputs))
        self.activation: Activation = activation

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H2 W2 O"]:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return ACTIVATIONS[self.activation](x)


class DepthwiseConv(nnx.Module):
    """Depthwise convolution, then 1x1 convolution, each with batch norm and activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        *,
        activation: Activation = "silu",
        rng: np.random.Generator,
    ):
        self.dconv = BaseConv(inputs, inputs, size, stride, groups=inputs, activation=activation, rng=rng)
        self.pconv = BaseConv(inputs, outputs, 1, activation=activation, rng=rng)

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H2 W2 O"]:
        return self.pconv(self.dconv(x))


def spatial_conv(depthwise: bool) -> type[BaseConv] | type[DepthwiseConv]:
    """The block that stands where a 3x3 convolution does."""
    return DepthwiseConv if depthwise else BaseConv


class Bottleneck(nnx.Module):
    """1x1 and 3x3 convolution at one width, with or without the input added."""

    def __init__(self, channels: int, *, shortcut: bool, depthwise: bool, rng: np.random.Generator):
        self.conv1 = BaseConv(channels, channels, 1, rng=rng)
        self.conv2 = spatial_conv(depthwise)(channels, channels, 3, rng=rng)
        self.shortcut = shortcut

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        out = self.conv2(self.conv1(x))
        return out + x if self.shortcut else out


class CSPLayer(nnx.Module):
    """Cross stage partial layer: half of the channels go through bottlenecks, half past them."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        repeats: int,
        *,
        shortcut: bool = True,
        depthwise: bool = False,
        rng: np.random.Generator,
    ):
        hidden = outputs // 2
        self.conv1 = BaseConv(inputs, hidden, 1, rng=rng)
        self.conv2 = BaseConv(inputs, hidden, 1, rng=rng)
        self.conv3 = BaseConv(2 * hidden, outputs, 1, rng=rng)
        self.m = nnx.List([Bottleneck(hidden, shortcut=shortcut, depthwise=depthwise, rng=rng) for _ in range(repeats)])

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        deep = self.conv1(x)
        for bottleneck in self.m:
            deep = bottleneck(deep)
        return self.conv3(jnp.concatenate([deep, self.conv2(x)], axis=-1))


class Focus(nnx.Module):
    """2x2 pixels become channels, then a 3x3 convolution. Order: top left, bottom left, top right, bottom right."""

    def __init__(self, inputs: int, outputs: int, *, rng: np.random.Generator):
        self.conv = BaseConv(4 * inputs, outputs, 3, rng=rng)

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H//2 W//2 O"]:
        batch, height, width, channels = x.shape
        pixels = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        patches = pixels.transpose(0, 1, 3, 4, 2, 5)  # column parity before row parity
        return self.conv(patches.reshape(batch, height // 2, width // 2, 4 * channels))


class SPPBottleneck(nnx.Module):
    """Spatial pyramid pooling: maxima over 5x5, 9x9 and 13x13 beside the input."""

    def __init__(self, inputs: int, outputs: int, *, activation: Activation = "silu", rng: np.random.Generator):
        hidden = inputs // 2
        self.conv1 = BaseConv(inputs, hidden, 1, activation=activation, rng=rng)
        self.conv2 = BaseConv(4 * hidden, outputs, 1, activation=activation, rng=rng)

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        pools = [self.conv1(x)]
        for _ in range(3):  # 9x9 is 5x5 twice, 13x13 three times
            pools.append(nnx.max_pool(pools[-1], (5, 5), strides=(1, 1), padding="SAME"))
        return self.conv2(jnp.concatenate(pools, axis=-1))


class ResLayer(nnx.Module):
    """Darknet's residual block: 1x1 to half the channels, 3x3 back, plus the input."""

    def __init__(self, channels: int, *, rng: np.random.Generator):
        self.layer1 = BaseConv(channels, channels // 2, 1, activation="lrelu", rng=rng)
        self.layer2 = BaseConv(channels // 2, channels, 3, activation="lrelu", rng=rng)

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        return x + self.layer2(self.layer1(x))


def upsample(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Nearest-neighbour enlargement by two."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
