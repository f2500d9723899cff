"""Freezes parts of a network."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from flax import nnx

from yolox_jax.config import ConfigError
from yolox_jax.models import YOLOX
from yolox_jax.models.normalization import BatchNorm
from yolox_jax.training.step.state import Frozen
from yolox_jax.weights.names import named_variables, original_name

PARTS = ("backbone", "neck", "head")
"""The parts of a network that a pattern may name as a whole."""


class FrozenWeights(NamedTuple):
    """What `freeze` has frozen."""

    parts: tuple[str, ...]
    """The parts with frozen weights; `part of head` where others of that part are trained."""
    names: frozenset[str]
    """The original's names of the arrays, including batch statistics."""
    num_parameters: int
    """Size of the frozen weights, without batch statistics."""
    total_parameters: int
    """Size of all weights of the network."""

    def __str__(self) -> str:
        return (
            f"{', '.join(self.parts)} ({len(self.names)} tensors, {self.num_parameters / 1e6:.2f} M of "
            f"{self.total_parameters / 1e6:.2f} M parameters)"
        )


def part_of(name: str) -> str:
    """The part of the network that a weight belongs to. The original's names put the neck inside `backbone`.

    >>> [part_of(name) for name in ("backbone.backbone.stem.conv.conv.weight", "backbone.C3_p4.conv1.conv.weight")]
    ['backbone', 'neck']
    """
    if name.startswith("backbone.backbone."):
        return "backbone"
    return "neck" if name.startswith("backbone.") else "head"


def freeze(model: YOLOX, patterns: Sequence[str]) -> FrozenWeights:
    """Turns the weights that match a pattern into `Frozen` variables. Their batch norm uses its running statistics.

    Args:
        model: in training mode; modified in place. Do not call `model.train()` on it afterwards.
        patterns: each `backbone`, `neck` or `head`, or a name of weights, or of modules that contain them, as in the
            original's state dict; `*` matches any text.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    # Statistics are frozen together with the scale of their batch norm, not by their own names.
    sizes = {name: variable[...].size for name, variable in named_variables(model).items() if "running" not in name}
    frozen: set[str] = set()
    for pattern in patterns:
        frozen |= _matches(pattern, sizes, model.variant)
    if len(frozen) == len(sizes):
        raise ConfigError(
            f"--model.freeze {' '.join(patterns)} freezes all of {model.variant}: nothing is left to train"
        )
    parts = [
        part if all(name in frozen for name in sizes if part_of(name) == part) else f"part of {part}"
        for part in PARTS
        if any(part_of(name) == part for name in frozen)
    ]
    return FrozenWeights(tuple(parts), _freeze(model, frozen), sum(sizes[name] for name in frozen), sum(sizes.values()))


def _matches(pattern: str, names: Mapping[str, int], variant: str) -> set[str]:
    """The names of weights that a pattern stands for."""
    if pattern in PARTS:
        return {name for name in names if part_of(name) == pattern}
    matched = {name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
    if not matched:
        raise ConfigError(
            f"--model.freeze {pattern} matches no part of {variant}{_similar(pattern, names)} Pass backbone, neck or "
            "head, or names of weights such as backbone.backbone.stem or head.stems.*"
        )
    return matched


def _similar(pattern: str, names: Mapping[str, int]) -> str:
    """The part or the module that was probably meant."""
    words = [name.split(".") for name in names]
    modules = dict.fromkeys(".".join(parts[:depth]) for parts in words for depth in range(1, len(parts)))
    known = [*PARTS, *modules]
    ends_alike = [module for module in modules if module.endswith(f".{pattern.split('.')[-1]}")]
    close = difflib.get_close_matches(pattern, known, n=1, cutoff=0.85)
    close = close or difflib.get_close_matches(pattern, ends_alike, n=1, cutoff=0)
    close = close or difflib.get_close_matches(pattern, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "."


def _freeze(model: YOLOX, frozen: set[str]) -> frozenset[str]:
    """Replaces the variables with these names, and their batch statistics; returns the names of all of them."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm) and original_name((*path, "scale")) in frozen:
            # Freeze the statistics that the scale was trained with.
            frozen = frozen | {original_name((*path, "mean")), original_name((*path, "var"))}
            module.use_running_average = True
        for attribute, variable in list(vars(module).items()):
            if isinstance(variable, nnx.Variable) and original_name((*path, attribute)) in frozen:
                setattr(module, attribute, Frozen(variable[...]))
    return frozenset(frozen)
