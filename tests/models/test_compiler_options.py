"""What XLA's options do to the programs that are compiled with them."""

import jax
import jax.numpy as jnp

from yolox_jax.config import TrainConfig
from yolox_jax.models.compiler_options import backend_options, compiler_options


def test_barriers_keep_arrays_apart_in_the_training_step_and_in_no_other_program():
    """XLA for CPUs then compiles layers that differ only in the places of their weights once."""

    def two_layers(weights):
        first, second = jax.lax.optimization_barrier((weights[:8], weights[8:]))
        return jnp.exp(first), jnp.exp(second)

    def program(options):
        return jax.jit(two_layers, compiler_options=options).lower(jnp.ones(16)).compile()

    step, other = program(compiler_options(TrainConfig())), program(backend_options())
    assert "opt-barrier" in step.as_text() and "opt-barrier" not in other.as_text()
    for found, expected in zip(step(jnp.ones(16)), other(jnp.ones(16)), strict=True):
        assert (found == expected).all()
