"""The persistent compilation cache."""

import os

import jax

from yolox_jax.files import has_lasting_cache, user_cache


def keep_compiled() -> None:
    """Turns on jax's persistent compilation cache, in the user's cache folder.

    Set JAX_COMPILATION_CACHE_DIR to use another folder, or JAX_ENABLE_COMPILATION_CACHE=0 to turn it off.
    """
    if not has_lasting_cache():  # otherwise matplotlib makes a new folder for its fonts at every start
        os.environ.setdefault("MPLCONFIGDIR", str(user_cache() / "matplotlib"))
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache() / "compiled"))
