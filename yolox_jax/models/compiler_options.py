"""XLA compiler options that differ from its defaults."""

import functools

import jax

from yolox_jax.config import TrainConfig

Options = dict[str, bool | int | str]

DETERMINISTIC: Options = {
    "xla_gpu_exclude_nondeterministic_ops": True,
    # Autotuning times kernels to choose the fastest, and its choice may differ from run to run.
    "xla_gpu_autotune_level": 0,
}
"""With these, two runs on GPUs of the same model sum in the same order. They have no effect on other backends."""

CPU: Options = {
    # XLA's default is 256 bits. Saves a tenth of the step on CPUs with AVX-512 and has no effect on others.
    "xla_cpu_prefer_vector_width": 512,
    # The YNNPACK library for reductions only. By default XLA also uses it for convolutions and matrix products, which
    # take a quarter longer with it than with XLA's other kernels.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
"""Measured with jax 0.10.2 (docs/performance.md)."""


def compiler_options(config: TrainConfig, platform: str | None = None) -> Options | None:
    """`compiler_options` of `jax.jit` for the training step, or None; see `backend_options` for the platform."""
    return (DETERMINISTIC if config.deterministic else {}) | (backend_options(platform) or {}) or None


def backend_options(platform: str | None = None) -> Options | None:
    """`compiler_options` of `jax.jit` for any program that runs a network, or None.

    Args:
        platform: `cpu`, `gpu` or `tpu`; by default that of jax's default backend.
    """
    if (platform or jax.default_backend()) != "cpu":
        return None
    return {name: value for name, value in CPU.items() if _is_known(name, value)} or None


@functools.cache
def _is_known(name: str, value: bool | int | str) -> bool:
    """Whether this version of XLA knows the option. Such options come and go between versions."""
    try:
        jax.jit(lambda x: x + 1, compiler_options={name: value})(0)
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
