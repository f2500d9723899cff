"""The two-stage top-k against jax's."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from yolox_jax.top_k import top_k


def rows(kind: str, length: int) -> np.ndarray:
    rng = np.random.default_rng(length)
    values = {
        "different": rng.normal(size=(3, 4, length)),
        "many equal": rng.integers(0, 6, (3, 4, length)),
        "few finite": np.where(rng.random((3, 4, length)) < 0.01, rng.integers(0, 3, (3, 4, length)), -np.inf),
        "all equal": np.zeros((3, 4, length)),
    }
    return values[kind].astype(np.float32)


# 8400 and 3549 are the anchors of 640 and 416 px; 997 is prime; 21 and 10 are hardly more than k.
@pytest.mark.parametrize("length", [8400, 3549, 997, 252, 21, 10])
@pytest.mark.parametrize("kind", ["different", "many equal", "few finite", "all equal"])
def test_values_indices_and_order_of_ties_equal_those_of_jax(kind: str, length: int):
    x = jnp.asarray(rows(kind, length))
    for got, expected in zip(top_k(x, 10), lax.top_k(x, 10), strict=True):
        np.testing.assert_array_equal(got, expected)
