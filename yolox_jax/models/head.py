"""The decoupled head: on each level one branch for classes, one for box and objectness (docs/yolox.md, 2.4)."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import BaseConv, Conv, spatial_conv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import Activation
from yolox_jax.models.stages import in_sequence, run_stage

PRIOR_LOGIT = -4.59511985
"""Logit of probability 0.01, the initial bias of class and objectness predictions (docs/yolox.md, 2.7)."""


class YOLOXHead(nnx.Module):
    """Predictions at three levels, which share no weights."""

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

    def __call__(
        self, features: Sequence[Float[Array, "B _ _ _"]], options: ForwardOptions
    ) -> Float[Array, "B A values"]:
        levels = []
        for k, feature in enumerate(features):
            level = [self.stems[k], self.cls_convs[k], self.reg_convs[k]]
            predictions = [self.reg_preds[k], self.obj_preds[k], self.cls_preds[k]]
            out = run_stage(_predict, nnx.List([*level, *predictions]), feature, options)
            levels.append(out.reshape(out.shape[0], -1, out.shape[-1]))
        return jnp.concatenate(levels, axis=1).astype(jnp.float32)


def _predict(
    layers: nnx.List, feature: Float[Array, "B H W I"], options: ForwardOptions
) -> Float[Array, "B H W values"]:
    """Box, objectness and class logits of one level."""
    stem, cls_convs, reg_convs, reg_pred, obj_pred, cls_pred = layers
    x = stem(feature, options)
    classes, boxes = in_sequence(cls_convs, x, options), in_sequence(reg_convs, x, options)
    return jnp.concatenate([reg_pred(boxes, options), obj_pred(boxes, options), cls_pred(classes, options)], axis=-1)
