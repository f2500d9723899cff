"""The backbones: CSPDarknet (docs/yolox.md, 2.2) and Darknet53 (docs/yolox.md, 2.5)."""

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import BaseConv, CSPLayer, Focus, ResLayer, SPPBottleneck, spatial_conv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.stages import in_sequence, run_stage


class CSPDarknet(nnx.Module):
    """Backbone of nano to x.

    Returns features at strides 4, 8, 16 and 32 with 2, 4, 8 and 16 times `int(64 * width)` channels.
    """

    def __init__(self, depth: float, width: float, *, depthwise: bool, image_channels: int, rng: np.random.Generator):
        base = int(64 * width)
        repeats = max(round(3 * depth), 1)
        conv = spatial_conv(depthwise)

        def stage(inputs: int, repeats: int) -> nnx.List:
            outputs = 2 * inputs
            return nnx.List(
                [
                    conv(inputs, outputs, 3, 2, rng=rng),
                    CSPLayer(outputs, outputs, repeats, depthwise=depthwise, rng=rng),
                ]
            )

        self.stem = Focus(image_channels, base, rng=rng)
        self.dark2 = stage(base, repeats)
        self.dark3 = stage(2 * base, 3 * repeats)
        self.dark4 = stage(4 * base, 3 * repeats)
        self.dark5 = nnx.List(
            [
                conv(8 * base, 16 * base, 3, 2, rng=rng),
                SPPBottleneck(16 * base, 16 * base, rng=rng),
                CSPLayer(16 * base, 16 * base, repeats, shortcut=False, depthwise=depthwise, rng=rng),
            ]
        )

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> tuple[Array, Array, Array, Array]:
        x = run_stage(Focus.__call__, self.stem, x, options)
        return _stages(self, x, options)


class Darknet53(nnx.Module):
    """YOLOv3's backbone. Returns features at strides 4, 8, 16 and 32 with 128, 256, 512 and 512 channels."""

    def __init__(self, *, image_channels: int, rng: np.random.Generator):
        def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> BaseConv:
            return BaseConv(inputs, outputs, size, stride, activation="lrelu", rng=rng)

        def stage(inputs: int, repeats: int) -> list[nnx.Module]:
            outputs = 2 * inputs
            return [conv(inputs, outputs, 3, 2), *(ResLayer(outputs, rng=rng) for _ in range(repeats))]

        self.stem = nnx.List([conv(image_channels, 32, 3), *stage(32, 1)])
        self.dark2 = nnx.List(stage(64, 2))
        self.dark3 = nnx.List(stage(128, 8))
        self.dark4 = nnx.List(stage(256, 8))
        self.dark5 = nnx.List(
            [
                *stage(512, 4),
                conv(1024, 512, 1),
                conv(512, 1024, 3),
                SPPBottleneck(1024, 512, activation="lrelu", rng=rng),
                conv(512, 1024, 3),
                conv(1024, 512, 1),
            ]
        )

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> tuple[Array, Array, Array, Array]:
        x = run_stage(in_sequence, self.stem, x, options)
        return _stages(self, x, options)


def _stages(
    backbone: CSPDarknet | Darknet53, x: Float[Array, "B H W C"], options: ForwardOptions
) -> tuple[Array, Array, Array, Array]:
    stride4 = run_stage(in_sequence, backbone.dark2, x, options)
    stride8 = run_stage(in_sequence, backbone.dark3, stride4, options)
    stride16 = run_stage(in_sequence, backbone.dark4, stride8, options)
    return stride4, stride8, stride16, run_stage(in_sequence, backbone.dark5, stride16, options)
