"""The decoupled head (SPEC A1.4): classes on one branch, box and objectness on the other, per level."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import BaseConv, Conv, spatial_conv
from yolox_jax.models.normalization import Activation

PRIOR_LOGIT = -4.59511985
"""Logit of probability 0.01, where class and objectness predictions start (SPEC A1.7)."""


class YOLOXHead(nnx.Module):
    """Predictions for three levels, not shared among them."""

    def __init__(
        self,
        num_classes: int,
        width: float,
        channels: Sequence[int],
        *,
        depthwise: bool,
        activation: Activation,
        rng: np.random.Generator,
    ):
        hidden = int(256 * width)
        spatial = spatial_conv(depthwise)

        def branch() -> nnx.List:
            return nnx.List([spatial(hidden, hidden, 3, activation=activation, rng=rng) for _ in range(2)])

        def prediction(outputs: int) -> Conv:
            return Conv(hidden, outputs, 1, use_bias=True, rng=rng)

        self.stems = nnx.List([BaseConv(inputs, hidden, 1, activation=activation, rng=rng) for inputs in channels])
        self.cls_convs = nnx.List([branch() for _ in channels])
        self.reg_convs = nnx.List([branch() for _ in channels])
        self.cls_preds = nnx.List([prediction(num_classes) for _ in channels])
        self.reg_preds = nnx.List([prediction(4) for _ in channels])
        self.obj_preds = nnx.List([prediction(1) for _ in channels])
        for predictions, outputs in ((self.cls_preds, num_classes), (self.obj_preds, 1)):
            for conv in predictions:
                conv.bias = nnx.Param(jnp.full(outputs, PRIOR_LOGIT, jnp.float32))

    def __call__(self, features: Sequence[Float[Array, "B _ _ _"]]) -> Float[Array, "B A values"]:
        levels = []
        for k, feature in enumerate(features):
            x = self.stems[k](feature)
            classes = boxes = x
            for conv in self.cls_convs[k]:
                classes = conv(classes)
            for conv in self.reg_convs[k]:
                boxes = conv(boxes)
            out = [self.reg_preds[k](boxes), self.obj_preds[k](boxes), self.cls_preds[k](classes)]
            level = jnp.concatenate(out, axis=-1)
            levels.append(level.reshape(level.shape[0], -1, level.shape[-1]))
        return jnp.concatenate(levels, axis=1).astype(jnp.float32)
