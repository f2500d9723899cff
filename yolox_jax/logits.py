"""Arithmetic of logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def product_logit(a: Float[Array, "*#B"], b: Float[Array, "*#B"]) -> Float[Array, "*B"]:
    """The logit of sigmoid(a) * sigmoid(b): -log(exp(-a) + exp(-b) + exp(-a - b)).

    Neither it nor its gradient overflows or loses digits where a probability rounds to 0 or 1.

    >>> probability = jax.nn.sigmoid(product_logit(jnp.float32(1.0), jnp.float32(2.0)))
    >>> bool(jnp.allclose(probability, jax.nn.sigmoid(1.0) * jax.nn.sigmoid(2.0)))
    True
    """
    return -jnp.logaddexp(-b, jax.nn.softplus(-b) - a)
