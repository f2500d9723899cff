"""Prediction layers that the heads share, and the order of their outputs."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.blocks import Conv

PRIOR_LOGIT = -4.59511985
"""Logit of probability 0.01, the initial bias of class and objectness predictions (docs/yolox.md, 2.7)."""

BOX_VALUES = 4
"""Outputs of the network for the box of an anchor: tx, ty, tw, th."""


def prediction_layers(
    inputs: Sequence[int], num_classes: int, boxes_per_cell: int, rng: np.random.Generator
) -> tuple[nnx.List, nnx.List, nnx.List]:
    """1x1 convolutions for classes, boxes and objectness, each with one layer a level.

    Args:
        inputs: number of channels of each level.
        num_classes: C.
        boxes_per_cell: number of anchors in a cell, n. The outputs are n times C, 4 or 1 values, anchor by anchor.
        rng: initial weights; the biases of classes and objectness start at `PRIOR_LOGIT`.
    """

    def layers(values: int) -> nnx.List:
        return nnx.List([Conv(size, boxes_per_cell * values, 1, use_bias=True, rng=rng) for size in inputs])

    classes, boxes, objectness = layers(num_classes), layers(BOX_VALUES), layers(1)
    for conv in (*classes, *objectness):
        conv.bias = nnx.Param(jnp.full_like(conv.bias[...], PRIOR_LOGIT))
    return classes, boxes, objectness


def join_boxes(outputs: Sequence[Float[Array, "B H W _"]]) -> Float[Array, "B anchors values"]:
    """Joins the outputs of one level: anchors row by row, those of a cell one after the other.

    Args:
        outputs: boxes first, then others, each with the values of all anchors of a cell.
    """
    batch, height, width, values = outputs[0].shape
    boxes_per_cell = values // BOX_VALUES
    if boxes_per_cell > 1:
        outputs = [output.reshape(batch, height, width, boxes_per_cell, -1) for output in outputs]
    joined = jnp.concatenate(outputs, axis=-1)
    return joined.reshape(batch, -1, joined.shape[-1])


def join_levels(levels: Sequence[Float[Array, "B _ values"]]) -> Float[Array, "B A values"]:
    """Joins the anchors of all levels, in float32."""
    return jnp.concatenate(levels, axis=1).astype(jnp.float32)
