"""Brings together what several processes have found."""

from typing import TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

Rows = TypeVar("Rows")


def gather_rows(rows: Rows) -> Rows:
    """The rows of all processes, those of the first before those of the second, with unchanged values.

    Every process has to call this, and each gets the same; alone, a process gets its own rows back.

    Args:
        rows: NumPy arrays of at most 32 bits, in any pytree. Those of one process have as many rows as each other,
            possibly none; those of another may have more or fewer.
    """
    if jax.process_count() == 1:
        return rows
    # jax gathers equal shapes alone, so each process fills its rows up to the most that one has.
    count = len(jax.tree.leaves(rows)[0])
    counts = process_allgather(np.int32(count)).tolist()
    filled = jax.tree.map(lambda array: _filled_up(array, max(counts)), rows)
    return jax.tree.map(
        lambda parts: np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)]),
        process_allgather(filled),
    )


def _filled_up(array: np.ndarray, count: int) -> np.ndarray:
    """The rows of an array and then zeros, `count` rows in all."""
    filled = np.zeros((count, *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    return filled
