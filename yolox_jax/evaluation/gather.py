"""Gathers arrays from all processes."""

from typing import TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

Rows = TypeVar("Rows")


def gather_rows(rows: Rows) -> Rows:
    """Concatenate the rows of all processes, in the order of the processes.

    Every process must call this, and all get the same result. A single process gets its own rows back.

    Args:
        rows: a pytree of NumPy arrays of at most 32 bits, all with the same number of rows, possibly 0. The number may
            differ between processes.
    """
    if jax.process_count() == 1:
        return rows
    # jax gathers equal shapes only, so each process pads its rows to the largest number that any has.
    count = len(jax.tree.leaves(rows)[0])
    counts = process_allgather(np.int32(count)).tolist()
    padded = jax.tree.map(lambda array: _pad(array, max(counts)), rows)
    return jax.tree.map(
        lambda parts: np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)]),
        process_allgather(padded),
    )


def _pad(array: np.ndarray, count: int) -> np.ndarray:
    """Pad an array with zeros to `count` rows."""
    padded = np.zeros((count, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
