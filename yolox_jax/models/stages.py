"""Stages of a network, whose inner features the backward pass can compute again instead of keeping them."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TypeVar

from flax import nnx
from jaxtyping import Array, Float

Layers = TypeVar("Layers")

_recomputed: contextvars.ContextVar[bool] = contextvars.ContextVar("recomputed", default=False)


@contextlib.contextmanager
def recomputed_stages(recompute: bool) -> Iterator[None]:
    """Within it, gradients that are traced keep the input of each stage alone, if `recompute`."""
    token = _recomputed.set(recompute)
    try:
        yield
    finally:
        _recomputed.reset(token)


def in_a_row(layers: nnx.List, x: Float[Array, "B H W I"]) -> Float[Array, "B H2 W2 O"]:
    """Apply layers one after another."""
    for layer in layers:
        x = layer(x)
    return x


def run_stage(
    apply: Callable[[Layers, Float[Array, "..."]], Float[Array, "..."]], layers: Layers, x: Float[Array, "..."]
) -> Float[Array, "..."]:
    """`apply(layers, x)` as one stage; `layers` holds every module that it calls."""
    if not _recomputed.get():
        return apply(layers, x)
    y: Array = nnx.remat(apply)(layers, x)
    return y
