"""The necks: YOLOPAFPN (docs/yolox.md, 2.3) and YOLOFPN (docs/yolox.md, 2.5).

As in the original, a neck holds its backbone. Levels besides those of strides 8, 16 and 32 branch off: the finer one
continues the top-down path, the coarser one the bottom-up path, and neither changes what the three others compute. So
published weights still give their published predictions at these (docs/yolox.md, 2.9).
"""

from collections.abc import Sequence

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

    Returns features at the strides in `strides`, with the numbers of channels in `channels`.
    """

    def __init__(
        self,
        depth: float,
        width: float,
        *,
        depthwise: bool,
        strides: Sequence[int],
        image_channels: int,
        rng: np.random.Generator,
    ):
        c2, c3, c4, c5 = (int(channels * width) for channels in (128, 256, 512, 1024))
        self.strides = tuple(strides)
        self.channels = tuple({4: c2, 8: c3, 16: c4, 32: c5, 64: c5}[stride] for stride in strides)
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
        if 4 in strides:
            self.reduce_conv2 = BaseConv(c3, c2, 1, rng=rng)
            self.C3_p2 = csp(2 * c2, c2)
        if 64 in strides:
            self.bu_conv0 = conv(c5, c5, 3, 2, rng=rng)
            self.C3_n5 = csp(c5, c5)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> tuple[Array, ...]:
        dark2, dark3, dark4, dark5 = self.backbone(x, options)
        lateral5 = self.lateral_conv0(dark5, options)
        up4 = run_stage(CSPLayer.__call__, self.C3_p4, _join(upsample(lateral5), dark4), options)
        lateral4 = self.reduce_conv1(up4, options)
        out3 = run_stage(CSPLayer.__call__, self.C3_p3, _join(upsample(lateral4), dark3), options)
        out4 = run_stage(CSPLayer.__call__, self.C3_n3, _join(self.bu_conv2(out3, options), lateral4), options)
        out5 = run_stage(CSPLayer.__call__, self.C3_n4, _join(self.bu_conv1(out4, options), lateral5), options)
        outputs: tuple[Array, ...] = (out3, out4, out5)
        if 4 in self.strides:
            lateral3 = self.reduce_conv2(out3, options)
            out2 = run_stage(CSPLayer.__call__, self.C3_p2, _join(upsample(lateral3), dark2), options)
            outputs = (out2, *outputs)
        if 64 in self.strides:
            out6 = run_stage(CSPLayer.__call__, self.C3_n5, self.bu_conv0(out5, options), options)
            outputs = (*outputs, out6)
        return outputs


class YOLOFPN(nnx.Module):
    """YOLOv3's feature pyramid network around Darknet53: a top-down path only."""

    def __init__(self, *, strides: Sequence[int], image_channels: int, rng: np.random.Generator):
        def conv(inputs: int, outputs: int, size: int) -> BaseConv:
            return BaseConv(inputs, outputs, size, activation="lrelu", rng=rng)

        def five(inputs: int, narrow: int) -> nnx.List:
            wide = 2 * narrow
            shapes = [(inputs, narrow, 1), (narrow, wide, 3), (wide, narrow, 1), (narrow, wide, 3), (wide, narrow, 1)]
            return nnx.List([conv(*shape) for shape in shapes])

        self.strides = tuple(strides)
        self.channels = tuple({4: 64, 8: 128, 16: 256, 32: 512, 64: 512}[stride] for stride in strides)
        self.backbone = Darknet53(image_channels=image_channels, rng=rng)
        self.out1_cbl = conv(512, 256, 1)
        self.out1 = five(768, 256)
        self.out2_cbl = conv(256, 128, 1)
        self.out2 = five(384, 128)
        if 4 in strides:
            self.out3_cbl = conv(128, 64, 1)
            self.out3 = five(192, 64)
        if 64 in strides:
            self.down = BaseConv(512, 512, 3, 2, activation="lrelu", rng=rng)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> tuple[Array, ...]:
        dark2, dark3, dark4, dark5 = self.backbone(x, options)
        out4 = run_stage(in_sequence, self.out1, _join(upsample(self.out1_cbl(dark5, options)), dark4), options)
        out3 = run_stage(in_sequence, self.out2, _join(upsample(self.out2_cbl(out4, options)), dark3), options)
        outputs: tuple[Array, ...] = (out3, out4, dark5)
        if 4 in self.strides:
            out2 = run_stage(in_sequence, self.out3, _join(upsample(self.out3_cbl(out3, options)), dark2), options)
            outputs = (out2, *outputs)
        if 64 in self.strides:
            outputs = (*outputs, self.down(dark5, options))
        return outputs


def _join(a: Float[Array, "B H W C1"], b: Float[Array, "B H W C2"]) -> Float[Array, "B H W C"]:
    return jnp.concatenate([a, b], axis=-1)
