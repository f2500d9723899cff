"""Freezes parts of a network."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from flax import nnx

from yolox_jax.config import ConfigError
from yolox_jax.models import YOLOX
from yolox_jax.models.normalization import BatchNorm
from yolox_jax.training.step.state import Frozen
from yolox_jax.weights.names import named_variables, original_name


def freeze(model: YOLOX, patterns: Sequence[str]) -> int:
    """Turns the weights that match a pattern into `Frozen` variables. Their batch norm uses its running statistics.

    Args:
        model: in training mode; modified in place. Do not call `model.train()` on it afterwards.
        patterns: names of weights, or of modules that contain them, as in the original's state dict; `*` matches any
            text.

    Returns:
        The number of weights and statistics frozen.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    # Statistics are frozen together with the scale of their batch norm, not by their own names.
    names = [name for name in named_variables(model) if "running" not in name]
    frozen = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not matched:
            parts = sorted({".".join(name.split(".")[: pattern.count(".") + 1]) for name in names})
            raise ConfigError(
                f"--model.freeze {pattern} matches no part of {model.variant}. Parts at this depth: "
                f"{', '.join(parts[:12])}{', ...' if len(parts) > 12 else ''}"
            )
        frozen |= matched
    num_frozen = 0
    for path, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm) and original_name((*path, "scale")) in frozen:
            # Freeze the statistics that the scale was trained with.
            frozen |= {original_name((*path, "mean")), original_name((*path, "var"))}
            module.use_running_average = True
        for attribute, variable in list(vars(module).items()):
            if isinstance(variable, nnx.Variable) and original_name((*path, attribute)) in frozen:
                setattr(module, attribute, Frozen(variable[...]))
                num_frozen += 1
    if not nnx.to_flat_state(nnx.state(model, nnx.Param)):
        raise ConfigError(
            f"--model.freeze {' '.join(patterns)} freezes all of {model.variant}: nothing is left to train"
        )
    return num_frozen
