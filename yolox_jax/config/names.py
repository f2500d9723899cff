"""Resolves values that are either a name known to the package or a path, such as `--config` and `--weights`."""

import logging
from collections.abc import Collection
from pathlib import Path

from yolox_jax.config.model import ModelConfig

logger = logging.getLogger("yolox_jax")


def is_known_name(value: str | Path, known: Collection[str]) -> bool:
    """Tells a known name from a path.

    A string that matches a known name is treated as the name, even if a file or folder with that name exists: `yolox_s`
    is the name, `./yolox_s` is the path. A `Path` object is always a path.
    """
    return isinstance(value, str) and value in known


def warn_if_shadowed(name: str, meaning: str) -> None:
    """Log a warning if a known name takes precedence over a file or folder of the same name.

    Args:
        name: The known name.
        meaning: What it stands for, such as "the shipped config".
    """
    if Path(name).exists():
        logger.warning("%s means %s; pass ./%s for the local file or folder", name, meaning, name)


def initial_weights_name(model: ModelConfig) -> str:
    """The name or path of the weights to start from: the name of the variant in place of `published`."""
    return model.variant if model.weights == "published" else model.weights
