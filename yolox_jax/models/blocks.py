"""Building blocks of the networks (docs/yolox.md, 2.1). Layout is NHWC.

Attributes have the names of the original's state dict, so a parameter's path is nearly its key there. Blocks compute in
the dtype of their input; parameters and batch statistics are float32.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.convolution import conv2d
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.fused_pointwise import Unnormalised, fused_blocks, gpu_kernels, unnormalised
from yolox_jax.models.normalization import ACTIVATIONS, Activation, BatchNorm, batch_norm_side_by_side
from yolox_jax.models.pooling import max_pool
from yolox_jax.models.stages import in_sequence


def _uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Array:
    # NumPy rather than jax.random, which compiles once for each shape: ten seconds for nano.
    return jnp.asarray(bound * (2 * rng.random(shape, np.float32) - 1))


class Conv(nnx.Module):
    """Convolution initialised uniformly in +-1/sqrt(fan in), PyTorch's default (docs/yolox.md, 2.7)."""

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

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H2 W2 O"]:
        x = conv2d(x, self.kernel[...], self.stride, self.groups, options.convolution)
        return x if self.bias is None else x + self.bias[...].astype(x.dtype)


class BaseConv(nnx.Module):
    """Convolution, batch norm and activation. `bn` is None once it is folded into the convolution."""

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

    def __call__(
        self, x: Float[Array, "B H W I"] | list[Float[Array, "B H W _"]], options: ForwardOptions
    ) -> Float[Array, "B H2 W2 O"]:
        """Apply the block to features, which may come in parts, one channel behind the other."""
        if _are_fused([self], options):
            return _fused([self], x if isinstance(x, list) else [x], options)[0]
        x = self.conv(jnp.concatenate(x, axis=-1) if isinstance(x, list) else x, options)
        if self.bn is None:
            return ACTIVATIONS[self.activation](x)
        return self.bn(x, self.activation, options.batch_norm_axis, options.for_gpu)


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

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H2 W2 O"]:
        norms = _trained_norms([self.dconv])
        if norms and _are_fused([self.pconv], options):
            between = unnormalised(self.dconv.conv(x, options), norms[0], options.batch_norm_axis)
            return _fused([self.pconv], between, options)[0]
        return self.pconv(self.dconv(x, options), options)


def convs_side_by_side(
    convs: Sequence[Conv], x: Float[Array, "B H W I"], options: ForwardOptions
) -> list[Float[Array, "B H2 W2 _"]]:
    """Outputs of convolutions of the same input that differ in their weights alone, computed as one for GPUs."""
    if not options.for_gpu:
        return [conv(x, options) for conv in convs]
    out = _join(convs, x, options)
    biases = [conv.bias[...] for conv in convs if conv.bias is not None]
    out = out + jnp.concatenate(biases).astype(out.dtype) if biases else out
    ends = np.cumsum([conv.kernel[...].shape[-1] for conv in convs])
    return jnp.split(out, ends[:-1], axis=-1)


def blocks_side_by_side(
    blocks: Sequence[BaseConv | DepthwiseConv], x: Float[Array, "B H W I"], options: ForwardOptions
) -> list[Float[Array, "B H2 W2 _"]]:
    """Outputs of blocks of the same input that differ in their weights alone.

    In training for GPUs, their convolutions are computed as one, and so are their batch norms.
    """
    plain = [block for block in blocks if isinstance(block, BaseConv)]
    norms = _trained_norms(plain)
    if len(norms) < len(blocks) or not options.for_gpu:
        return [block(x, options) for block in blocks]
    if _are_fused(plain, options):
        return _fused(plain, [x], options)
    joined = _join([block.conv for block in plain], x, options)
    return batch_norm_side_by_side(norms, joined, plain[0].activation, options.batch_norm_axis)


def _trained_norms(blocks: Sequence[BaseConv]) -> list[BatchNorm]:
    """The batch norms of blocks, as far as they use the statistics of the batch."""
    return [block.bn for block in blocks if block.bn is not None and not block.bn.use_running_average]


def _are_fused(blocks: Sequence[BaseConv], options: ForwardOptions) -> bool:
    """Whether the kernels for 1x1 convolutions compute these blocks, which differ in their weights alone."""
    if options.pointwise == "plain" or len(_trained_norms(blocks)) < len(blocks):
        return False
    conv, outputs = blocks[0].conv, sum(block.conv.kernel[...].shape[-1] for block in blocks)
    height, width, inputs, _ = conv.kernel[...].shape
    is_pointwise = (height, width, conv.stride) == (1, 1, 1) and blocks[0].activation == "silu"
    return is_pointwise and bool(gpu_kernels().fits(inputs, outputs))


def _fused(
    blocks: Sequence[BaseConv], x: list[Float[Array, "B H W _"]] | Unnormalised, options: ForwardOptions
) -> list[Float[Array, "B H W _"]]:
    return fused_blocks([block.conv.kernel[...] for block in blocks], _trained_norms(blocks), x, options)


def _join(convs: Sequence[Conv], x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H2 W2 O"]:
    """One convolution in place of several, without biases."""
    kernel = jnp.concatenate([conv.kernel[...] for conv in convs], axis=-1)
    return conv2d(x, kernel, convs[0].stride, convs[0].groups, options.convolution)


def spatial_conv(depthwise: bool) -> type[BaseConv] | type[DepthwiseConv]:
    """The block used for 3x3 convolutions."""
    return DepthwiseConv if depthwise else BaseConv


class Bottleneck(nnx.Module):
    """1x1 then 3x3 convolution of constant width, with an optional shortcut from input to output."""

    def __init__(self, channels: int, *, shortcut: bool, depthwise: bool, rng: np.random.Generator):
        self.conv1 = BaseConv(channels, channels, 1, rng=rng)
        self.conv2 = spatial_conv(depthwise)(channels, channels, 3, rng=rng)
        self.shortcut = shortcut

    def __call__(self, x: Float[Array, "B H W C"], options: ForwardOptions) -> Float[Array, "B H W C"]:
        out = self.conv2(self.conv1(x, options), options)
        return out + x if self.shortcut else out


class CSPLayer(nnx.Module):
    """Cross stage partial layer: half of the channels pass through bottlenecks, the other half bypass them."""

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

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H W O"]:
        deep, bypass = blocks_side_by_side([self.conv1, self.conv2], x, options)
        return self.conv3([in_sequence(self.m, deep, options), bypass], options)


class Focus(nnx.Module):
    """Space to depth over 2x2 pixels (top left, bottom left, top right, bottom right), then a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int, *, rng: np.random.Generator):
        self.conv = BaseConv(4 * inputs, outputs, 3, rng=rng)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H//2 W//2 O"]:
        batch, height, width, channels = x.shape
        pixels = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        patches = pixels.transpose(0, 1, 3, 4, 2, 5)  # column parity before row parity
        return self.conv(patches.reshape(batch, height // 2, width // 2, 4 * channels), options)


class SPPBottleneck(nnx.Module):
    """Spatial pyramid pooling: concatenates the input with its maxima over 5x5, 9x9 and 13x13 pixels."""

    def __init__(self, inputs: int, outputs: int, *, activation: Activation = "silu", rng: np.random.Generator):
        hidden = inputs // 2
        self.conv1 = BaseConv(inputs, hidden, 1, activation=activation, rng=rng)
        self.conv2 = BaseConv(4 * hidden, outputs, 1, activation=activation, rng=rng)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H W O"]:
        pools = [self.conv1(x, options)]
        for _ in range(3):  # 5x5 applied twice is 9x9, three times 13x13
            pools.append(max_pool(pools[-1], 5))
        return self.conv2(jnp.concatenate(pools, axis=-1), options)


class ResLayer(nnx.Module):
    """Darknet's residual block: 1x1 convolution to half the channels, 3x3 back to all, plus the input."""

    def __init__(self, channels: int, *, rng: np.random.Generator):
        self.layer1 = BaseConv(channels, channels // 2, 1, activation="lrelu", rng=rng)
        self.layer2 = BaseConv(channels // 2, channels, 3, activation="lrelu", rng=rng)

    def __call__(self, x: Float[Array, "B H W C"], options: ForwardOptions) -> Float[Array, "B H W C"]:
        return x + self.layer2(self.layer1(x, options), options)


def upsample(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
    """Nearest-neighbour upsampling by a factor of two."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
