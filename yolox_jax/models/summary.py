"""Number of parameters and operations of a network."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.yolox import VARIANTS, YOLOX

_OPTIONS = ForwardOptions(convolution="primitive", separate_one_to_one=True)


@dataclasses.dataclass(frozen=True)
class Summary:
    """Result of `summarize`."""

    parameters: int
    gflops: float
    """Billions of operations per image, counted as in the published figures."""
    anchors: int
    """Predictions per image."""


def summarize(model: YOLOX, image_size: tuple[int, int]) -> Summary:
    """Counts parameters, operations and anchors. The model is traced but not run.

    Each multiplication of a convolution counts as two operations, each output value of batch norm as four, and each of
    a leaky ReLU as two. SiLU does not count. This reproduces the published figures (docs/yolox.md, 2.6).

    Args:
        model: any variant.
        image_size: height and width of the input in px, multiples of 32.
    """
    graphdef, state = nnx.split(model)

    def forward(state: nnx.State, images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state, copy=True)(images, _OPTIONS)

    trace = jax.make_jaxpr(forward)(state, jax.ShapeDtypeStruct((1, *image_size, model.channels), jnp.float32))
    (output,) = trace.out_avals
    multiplications = outputs = 0
    for equation in trace.jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            (out,), kernel = equation.outvars, equation.invars[1]
            outputs += out.aval.size
            multiplications += out.aval.size * math.prod(kernel.aval.shape[:3])
    normalised = outputs - output.size  # batch norm follows every convolution except the predictions
    # An activation follows every batch norm.
    operations = 6 if VARIANTS[model.variant].activation == "lrelu" else 4
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return Summary(parameters, (2 * multiplications + operations * normalised) / 1e9, output.shape[1])
