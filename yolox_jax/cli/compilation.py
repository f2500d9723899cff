"""Compiled programs kept from one run of a command to the next."""

import jax

from yolox_jax.files import user_cache


def keep_compiled() -> None:
    """Turns jax's persistent compilation cache on, in the user's cache folder.

    JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=0 turns it off.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache() / "compiled"))
