"""What XLA is told beyond its own defaults."""

import functools

import jax

from yolox_jax.config import TrainConfig

Options = dict[str, bool | int | str]

DETERMINISTIC: Options = {
    "xla_gpu_exclude_nondeterministic_ops": True,
    # Which kernels are the fastest is measured, and may come out otherwise the next time.
    "xla_gpu_autotune_level": 0,
}
"""With these, two runs on GPUs of one kind add in the same order; nothing changes elsewhere."""

CPU: Options = {
    # XLA's default is 256 bits; a tenth of the step on CPUs with AVX-512, without effect on others.
    "xla_cpu_prefer_vector_width": 512,
    # Its library YNNPACK for sums alone. By default it runs convolutions and matrix products too, where it takes a
    # quarter longer than what XLA has otherwise.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
"""Measured with jax 0.10.2: docs/performance.md."""


def compiler_options(config: TrainConfig) -> Options | None:
    """Options of `jax.jit` for the training step; None for none."""
    return (DETERMINISTIC if config.deterministic else {}) | (backend_options() or {}) or None


def backend_options() -> Options | None:
    """Options of `jax.jit` for any program of a network on the backend at hand; None for none."""
    if jax.default_backend() != "cpu":
        return None
    return {name: value for name, value in CPU.items() if _is_known(name, value)} or None


@functools.cache
def _is_known(name: str, value: bool | int | str) -> bool:
    """Whether this version of XLA has an option that it can do without; they come and go."""
    try:
        jax.jit(lambda x: x + 1, compiler_options={name: value})(0)
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
