"""Size and cost of a network."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.yolox import YOLOX


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `summarize` counts."""

    parameters: int
    gflops: float
    """Billions of operations for one image, as the published figures count them."""
    anchors: int
    """Predictions for one image."""


def summarize(model: YOLOX, image_size: tuple[int, int]) -> Summary:
    """Count parameters, operations and anchors; nothing is computed.

    Operations are two for each multiplication of a convolution and four for each value that batch norm puts out, which
    reproduces the published figures (SPEC A1.6).

    Args:
        model: any variant.
        image_size: height and width of the input in px, multiples of 32.
    """
    graphdef, state = nnx.split(model)

    def forward(state: nnx.State, images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state, copy=True)(images, ForwardOptions(convolution="primitive"))

    trace = jax.make_jaxpr(forward)(state, jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32))
    (output,) = trace.out_avals
    multiplications = outputs = 0
    for equation in trace.jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            (out,), kernel = equation.outvars, equation.invars[1]
            outputs += out.aval.size
            multiplications += out.aval.size * math.prod(kernel.aval.shape[:3])
    normalised = outputs - output.size  # every convolution but the predictions has a batch norm
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return Summary(parameters, (2 * multiplications + 4 * normalised) / 1e9, output.shape[1])
