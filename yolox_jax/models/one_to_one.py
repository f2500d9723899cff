"""The branch of an end-to-end network, which selects one prediction for each object (docs/roadmap.md).

Without it, a network predicts an object several times, and inference needs non-maximum suppression.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from yolox_jax.models.blocks import BaseConv, Conv, DepthwiseConv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.normalization import Activation
from yolox_jax.models.stages import in_sequence


class OneToOneBranch(nnx.Module):
    """Two 3x3 convolutions and a prediction on one level: the logit that an anchor is the one of its object."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        boxes_per_cell: int,
        spatial: type[BaseConv] | type[DepthwiseConv],
        activation: Activation,
        rng: np.random.Generator,
    ):
        self.convs = nnx.List(
            [spatial(channels, hidden, 3, activation=activation, rng=rng) for channels in (inputs, hidden)]
        )
        self.pred = Conv(hidden, boxes_per_cell, 1, use_bias=True, rng=rng)

    def __call__(self, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H W boxes"]:
        # The rest of the network learns from the assignment of several anchors to each object alone.
        return self.pred(in_sequence(self.convs, lax.stop_gradient(x), options), options)


def fold_selection(raw: Float[Array, "B A F"]) -> Float[Array, "B A F-1"]:
    """Fold the logit of the branch, the last channel, into the objectness logit, as the product of both probabilities.

    >>> fold_selection(jnp.array([[[0.0, 0.0, 0.0, 0.0, 9.0, -3.0, 2.0]]]))[0, 0].round(1).tolist()
    [0.0, 0.0, 0.0, 0.0, 2.0, -3.0]
    """
    return jnp.concatenate([raw[..., :4], product_logit(raw[..., 4:5], raw[..., -1:]), raw[..., 5:-1]], axis=-1)


def product_logit(a: Float[Array, "*#B"], b: Float[Array, "*#B"]) -> Float[Array, "*B"]:
    """The logit of sigmoid(a) * sigmoid(b): -log(exp(-a) + exp(-b) + exp(-a - b)).

    Neither it nor its gradient overflows or loses digits where a probability rounds to 0 or 1.

    >>> probability = jax.nn.sigmoid(product_logit(jnp.float32(1.0), jnp.float32(2.0)))
    >>> bool(jnp.allclose(probability, jax.nn.sigmoid(1.0) * jax.nn.sigmoid(2.0)))
    True
    """
    return -jnp.logaddexp(-b, jax.nn.softplus(-b) - a)
