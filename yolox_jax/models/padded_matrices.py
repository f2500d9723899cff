"""Reading and writing matrices in kernels that Triton compiles, whose arrays have sides that are powers of two.

A `ref` is an array in the memory of the GPU, as Pallas gives it to a kernel. What is read is padded with zeros; what is
written of the padding is dropped.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int

Ref = Any
"""Pallas has no public type for it."""


def padded(size: int) -> int:
    """The padded side of a matrix; products take none below 16."""
    return max(16, pl.next_power_of_2(size))


def all_rows(ref: Ref) -> Int[Array, " R"]:
    """All rows of a matrix, padded."""
    return jnp.arange(padded(ref.shape[0]))


def read(ref: Ref, rows: Int[Array, " R"]) -> Float[Array, "R C"]:
    """Rows of a matrix; zeros behind its last row and column."""
    return read_parts([ref], rows)


def read_parts(refs: Sequence[Ref], rows: Int[Array, " R"]) -> Float[Array, "R C"]:
    """Rows of the matrix that parts make up, one column behind the other."""
    columns, start = jnp.arange(padded(sum(ref.shape[1] for ref in refs))), 0
    values = jnp.zeros((), refs[0].dtype)
    for ref in refs:
        index, mask = _index(ref, rows, columns - start)
        values += triton.load(ref.at[index], mask=mask, other=0.0)
        start += ref.shape[1]
    return values


def write(ref: Ref, rows: Int[Array, " R"], values: Float[Array, "R C"]) -> None:
    """Write rows of a matrix."""
    write_parts([ref], rows, values)


def write_parts(refs: Sequence[Ref], rows: Int[Array, " R"], values: Float[Array, "R C"]) -> None:
    """Write rows of the matrix that parts make up, one column behind the other."""
    columns, start = jnp.arange(values.shape[1]), 0
    for ref in refs:
        index, mask = _index(ref, rows, columns - start)
        triton.store(ref.at[index], values, mask=mask)
        start += ref.shape[1]


def read_row(ref: Ref, number: int) -> Float[Array, " C"]:
    """One row of a matrix."""
    columns = jnp.arange(padded(ref.shape[1]))
    return triton.load(ref.at[number, columns], mask=columns < ref.shape[1], other=0.0)


def write_row(ref: Ref, number: int, values: Float[Array, " C"]) -> None:
    """Write one row of a matrix."""
    columns = jnp.arange(values.shape[0])
    triton.store(ref.at[number, columns], values, mask=columns < ref.shape[1])


def _index(
    ref: Ref, rows: Int[Array, " R"], columns: Int[Array, " C"]
) -> tuple[tuple[Int[Array, "R 1"], Int[Array, "1 C"]], Bool[Array, "R C"]]:
    """Index of rows and columns, and which of them are inside a matrix."""
    is_row, is_column = rows < ref.shape[0], (columns >= 0) & (columns < ref.shape[1])
    return (rows[:, None], columns[None]), is_row[:, None] & is_column[None]
