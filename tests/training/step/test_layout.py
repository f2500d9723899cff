"""A tree in vectors: it comes back to the bit, in the order that convolutions take, on the host and when traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.training.step.layout import packed

RNG = np.random.default_rng(0)
TREE = {
    "conv": {"kernel": RNG.random((3, 3, 2, 4)), "bias": RNG.random(4)},
    "bn": [{"scale": RNG.random(4)}, {"scale": RNG.random(())}],
    "pred": {"kernel": RNG.random((1, 1, 4, 5))},
}


@pytest.mark.parametrize("output_first", [False, True])
def test_a_tree_comes_back_from_its_vectors_to_the_bit_on_the_host_and_traced(output_first):
    vectors = packed(TREE, output_first=output_first)
    layout, on_device = vectors.layout, jax.tree.map(jnp.asarray, vectors)
    expected = jax.tree.map(jnp.asarray, TREE)
    jax.tree.map(np.testing.assert_array_equal, vectors.tree(), TREE)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(lambda vectors: vectors.tree())(on_device), expected)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(layout.pack)(expected), on_device)


def test_kernels_lie_apart_and_output_channels_come_first_where_cudnn_wants_them():
    for output_first, order in ((False, (0, 1, 2, 3)), (True, (3, 0, 1, 2))):
        vectors = packed(TREE, output_first=output_first).vectors
        kernels = [TREE["conv"]["kernel"].transpose(order), TREE["pred"]["kernel"].transpose(order)]
        np.testing.assert_array_equal(vectors["kernels"], np.concatenate([kernel.ravel() for kernel in kernels]))
        assert vectors["others"].size == 4 + 4 + 1


def test_packing_is_one_concatenation_and_unpacking_copies_no_more_than_slices():
    vectors = jax.tree.map(jnp.asarray, packed(TREE, output_first=True))
    program = jax.jit(lambda vectors: vectors.layout.pack(vectors.tree())).lower(vectors).as_text()
    assert program.count("stablehlo.concatenate") == 2
    assert program.count("stablehlo.slice") == 5 and "gather" not in program and "dynamic" not in program
