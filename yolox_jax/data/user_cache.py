"""Where the user's machine keeps what can be made again."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Folder for what can be made again, such as generated images."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolox_jax"
