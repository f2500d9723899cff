"""The coupled head of YOLOv3: on each level one branch for classes, box and objectness (docs/roadmap.md)."""

from collections.abc import Sequence

import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import spatial_conv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import Activation
from yolox_jax.models.one_to_one import OneToOneBranch
from yolox_jax.models.predictions import join_boxes, join_levels, prediction_layers
from yolox_jax.models.stages import run_stage


class CoupledHead(nnx.Module):
    """Predictions at all levels from one 3x3 convolution each, which doubles the channels."""

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
        spatial = spatial_conv(depthwise)
        self.convs = nnx.List([spatial(inputs, 2 * inputs, 3, activation=activation, rng=rng) for inputs in channels])
        doubled = [2 * inputs for inputs in channels]
        # Three convolutions instead of one: the same function, but classes have weights of their own to replace.
        self.cls_preds, self.reg_preds, self.obj_preds = prediction_layers(doubled, num_classes, boxes_per_cell, rng)
        hidden = int(256 * width)
        self.one_to_one = nnx.List(
            [
                OneToOneBranch(inputs, hidden, boxes_per_cell, spatial, activation, rng)
                for inputs in doubled
                if end_to_end
            ]
        )

    def __call__(
        self, features: Sequence[Float[Array, "B _ _ _"]], options: ForwardOptions
    ) -> Float[Array, "B A values"]:
        levels = []
        for k, feature in enumerate(features):
            predictions = [self.reg_preds[k], self.obj_preds[k], self.cls_preds[k], *self.one_to_one[k : k + 1]]
            levels.append(run_stage(_predict, nnx.List([self.convs[k], *predictions]), feature, options))
        return join_levels(levels)


def _predict(
    layers: nnx.List, feature: Float[Array, "B H W I"], options: ForwardOptions
) -> Float[Array, "B anchors values"]:
    """Box, objectness and class logits of one level."""
    conv, *predictions = layers
    x = conv(feature, options)
    return join_boxes([predict(x, options) for predict in predictions])
