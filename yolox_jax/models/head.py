"""The decoupled head: on each level one branch for classes, one for box and objectness (docs/yolox.md, 2.4)."""

from collections.abc import Sequence

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import BaseConv, blocks_side_by_side, convs_side_by_side, spatial_conv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import Activation
from yolox_jax.models.one_to_one import OneToOneBranch
from yolox_jax.models.predictions import join_boxes, join_levels, prediction_layers
from yolox_jax.models.stages import run_stage


class YOLOXHead(nnx.Module):
    """Predictions at all levels, which share no weights."""

    def __init__(
        self,
        num_classes: int,
        width: float,
        channels: Sequence[int],
        *,
        depthwise: bool,
        activation: Activation,
        boxes_per_cell: int = 1,
        end_to_end: bool = False,
        rng: np.random.Generator,
    ):
        hidden = int(256 * width)
        spatial = spatial_conv(depthwise)

        def branch() -> nnx.List:
            return nnx.List([spatial(hidden, hidden, 3, activation=activation, rng=rng) for _ in range(2)])

        self.stems = nnx.List([BaseConv(inputs, hidden, 1, activation=activation, rng=rng) for inputs in channels])
        self.cls_convs = nnx.List([branch() for _ in channels])
        self.reg_convs = nnx.List([branch() for _ in channels])
        inputs = [hidden] * len(channels)
        self.cls_preds, self.reg_preds, self.obj_preds = prediction_layers(inputs, num_classes, boxes_per_cell, rng)
        self.one_to_one = nnx.List(
            [OneToOneBranch(hidden, hidden, boxes_per_cell, spatial, activation, rng) for _ in channels if end_to_end]
        )

    def __call__(
        self, features: Sequence[Float[Array, "B _ _ _"]], options: ForwardOptions
    ) -> Float[Array, "B A values"]:
        levels = []
        for k, feature in enumerate(features):
            level = [self.stems[k], self.cls_convs[k], self.reg_convs[k]]
            predictions = [self.reg_preds[k], self.obj_preds[k], self.cls_preds[k], *self.one_to_one[k : k + 1]]
            levels.append(run_stage(_predict, nnx.List([*level, *predictions]), feature, options))
        return join_levels(levels)


def _predict(
    layers: nnx.List, feature: Float[Array, "B H W I"], options: ForwardOptions
) -> Float[Array, "B anchors values"]:
    """Box, objectness and class logits of one level."""
    stem, cls_convs, reg_convs, reg_pred, obj_pred, cls_pred, *one_to_one = layers
    x = stem(feature, options)
    classes, boxes = blocks_side_by_side([cls_convs[0], reg_convs[0]], x, options)
    classes, boxes = cls_convs[1](classes, options), reg_convs[1](boxes, options)
    selection = [branch(boxes, options) for branch in one_to_one]
    box_outputs = convs_side_by_side([reg_pred, obj_pred], boxes, options)
    return join_boxes([*box_outputs, cls_pred(classes, options), *selection])
