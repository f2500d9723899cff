"""The necks: YOLOPAFPN (docs/yolox.md, 2.3) and YOLOFPN (docs/yolox.md, 2.5).

As in the original, a neck holds its backbone.
"""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import BaseConv, CSPLayer, spatial_conv, upsample
from yolox_jax.models.darknet import CSPDarknet, Darknet53
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.stages import in_sequence, run_stage


class YOLOPAFPN(nnx.Module):
    """Path aggregation network around CSPDarknet: a top-down path, then a bottom-up path.

    Returns features at strides 8, 16 and 32 with the numbers of channels in `channels`.
    """

    def __init__(self, depth: float, width: float, *, depthwise: bool, image_channels: int, rng: np.random.Generator):
        c3, c4, c5 = self.channels = (int(256 * width), int(512 * width), int(1024 * width))
        conv = spatial_conv(depthwise)

        def csp(inputs: int, outputs: int) -> CSPLayer:
            return CSPLayer(inputs, outputs, round(3 * depth), shortcut=False, depthwise=depthwise, rng=rng)

        self.backbone = CSPDarknet(depth, width, depthwise=depthwise, image_channels=image_channels, rng=rng)
        self.lateral_conv0 = BaseConv(c5, c4, 1, rng=rng)
        self.C3_p4 = csp(2 * c4, c4)
        self.reduce_conv1 = BaseConv(c4, c3, 1, rng=rng)
        self.C3_p3 = csp(2 * c3, c3)
        self.bu_conv2 = conv(c3, c3, 3, 2, rng=rng)
        self.C3_n3 = csp(2 * c3, c4)
        self.bu_conv1 = conv(c4, c4, 3, 2, rng=rng)
        self.C3_n4 = csp(2 * c4, c5)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> tuple[Array, Array, Array]:
        dark3, dark4, dark5 = self.backbone(x, options)
        lateral5 = self.lateral_conv0(dark5, options)
        up4 = run_stage(CSPLayer.__call__, self.C3_p4, _join(upsample(lateral5), dark4), options)
        lateral4 = self.reduce_conv1(up4, options)
        out3 = run_stage(CSPLayer.__call__, self.C3_p3, _join(upsample(lateral4), dark3), options)
        out4 = run_stage(CSPLayer.__call__, self.C3_n3, _join(self.bu_conv2(out3, options), lateral4), options)
        out5 = run_stage(CSPLayer.__call__, self.C3_n4, _join(self.bu_conv1(out4, options), lateral5), options)
        return out3, out4, out5


class YOLOFPN(nnx.Module):
    """YOLOv3's feature pyramid network around Darknet53: a top-down path only."""

    def __init__(self, *, image_channels: int, rng: np.random.Generator):
        def conv(inputs: int, outputs: int, size: int) -> BaseConv:
            return BaseConv(inputs, outputs, size, activation="lrelu", rng=rng)

        def five(inputs: int, narrow: int) -> nnx.List:
            wide = 2 * narrow
            shapes = [(inputs, narrow, 1), (narrow, wide, 3), (wide, narrow, 1), (narrow, wide, 3), (wide, narrow, 1)]
            return nnx.List([conv(*shape) for shape in shapes])

        self.channels = (128, 256, 512)
        self.backbone = Darknet53(image_channels=image_channels, rng=rng)
        self.out1_cbl = conv(512, 256, 1)
        self.out1 = five(768, 256)
        self.out2_cbl = conv(256, 128, 1)
        self.out2 = five(384, 128)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> tuple[Array, Array, Array]:
        dark3, dark4, dark5 = self.backbone(x, options)
        out4 = run_stage(in_sequence, self.out1, _join(upsample(self.out1_cbl(dark5, options)), dark4), options)
        out3 = run_stage(in_sequence, self.out2, _join(upsample(self.out2_cbl(out4, options)), dark3), options)
        return out3, out4, dark5


def _join(a: Float[Array, "B H W C1"], b: Float[Array, "B H W C2"]) -> Float[Array, "B H W C"]:
    return jnp.concatenate([a, b], axis=-1)
