"""The arrays of a tree in a few vectors, so that an update of all weights is a handful of operations, not hundreds."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


class Place(NamedTuple):
    """Where one array lies."""

    group: str
    """Name of the vector: `kernels` for those of convolutions, `others` for the rest."""
    start: int
    shape: tuple[int, ...]
    """Shape of the array in the tree."""
    output_first: bool
    """Whether the last axis of the array comes first in the vector."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each array of a tree lies in the vectors of a `Packed`. Equal for trees of equal structure and shapes."""

    structure: Any
    """The `PyTreeDef` of the tree."""
    places: tuple[Place, ...]
    """One for each array, in the order of `jax.tree.leaves`."""

    def pack(self, tree: PyTree) -> "Packed":
        """Joins the arrays of a tree, one concatenation for each vector; on the host if they are NumPy arrays."""
        parts: dict[str, list[Any]] = {}
        for array, place in zip(jax.tree.leaves(tree), self.places, strict=True):
            stored = array.transpose(-1, *range(array.ndim - 1)) if place.output_first else array
            parts.setdefault(place.group, []).append(stored.reshape(-1))
        vectors = {
            group: np.concatenate(arrays) if isinstance(arrays[0], np.ndarray) else jnp.concatenate(arrays)
            for group, arrays in parts.items()
        }
        return Packed(vectors, self)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["vectors"], meta_fields=["layout"])
@dataclasses.dataclass(frozen=True)
class Packed:
    """The arrays of a tree in a few vectors; a pytree of these vectors, so `jax.tree.map` works on them as a whole."""

    vectors: dict[str, Any]
    """Vectors by their names in the layout: `kernels`, the only one with weight decay, and `others`; none is empty."""
    layout: Layout

    def tree(self) -> Any:
        """The tree, with arrays that are views of the vectors. To be called inside a jitted function or on the host."""

        def arrays() -> Iterator[Any]:
            for group, start, shape, output_first in self.layout.places:
                part = self.vectors[group][start : start + math.prod(shape)]
                if output_first:
                    yield part.reshape(shape[-1:] + shape[:-1]).transpose(*range(1, len(shape)), 0)
                else:
                    yield part.reshape(shape)

        return jax.tree.unflatten(self.layout.structure, arrays())


def packed(tree: PyTree, *, output_first: bool) -> Packed:
    """Packs a tree of arrays of one type: convolution kernels in one vector, everything else in another.

    Args:
        tree: a tree of NumPy or jax arrays. Those with `kernel` in their path are convolution kernels [K, K, I, O].
        output_first: lay kernels out as [O, K, K, I], which cuDNN takes as they are.
    """
    named, structure = jax.tree_util.tree_flatten_with_path(tree)
    places, ends = [], {"kernels": 0, "others": 0}
    for path, array in named:
        is_kernel = "kernel" in jax.tree_util.keystr(path)
        group = "kernels" if is_kernel else "others"
        places.append(Place(group, ends[group], array.shape, is_kernel and output_first))
        ends[group] += array.size
    return Layout(structure, tuple(places)).pack(tree)
