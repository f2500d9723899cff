"""Stages of a network: the backward pass can recompute their features instead of storing them."""

from collections.abc import Callable
from typing import TypeVar

from flax import nnx
from jaxtyping import Array, Float

from yolox_jax.models.forward_options import ForwardOptions

Layers = TypeVar("Layers")


def in_sequence(layers: nnx.List, x: Float[Array, "B H W I"], options: ForwardOptions) -> Float[Array, "B H2 W2 O"]:
    """Applies layers one after another."""
    for layer in layers:
        x = layer(x, options)
    return x


def run_stage(
    apply: Callable[[Layers, Float[Array, "..."], ForwardOptions], Float[Array, "..."]],
    layers: Layers,
    x: Float[Array, "..."],
    options: ForwardOptions,
) -> Float[Array, "..."]:
    """Calls `apply(layers, x, options)` as one stage. `layers` must hold every module that `apply` calls."""
    if not options.rematerialise:
        return apply(layers, x, options)
    y: Array = nnx.remat(apply, static_argnums=2)(layers, x, options)
    return y
