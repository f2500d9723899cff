"""Compares the arrays of two train states by name, shape and type."""

from typing import Any

import jax
from jaxtyping import PyTree


def state_differences(saved: PyTree, expected: PyTree) -> list[str]:
    """Describes the arrays of a checkpoint that differ from those of the run in name, shape or type."""
    before, now = described(saved), described(expected)
    differences = [f"{name} is missing from the checkpoint" for name in now if name not in before]
    differences += [f"{name} is missing from the run" for name in before if name not in now]
    return differences + [
        f"{name} is {before[name]} in the checkpoint, {now[name]} in the run"
        for name in now
        if name in before and before[name] != now[name]
    ]


def described(tree: PyTree) -> dict[str, str]:
    """Type and shape of each array of a tree, by its name."""

    def name(path: tuple[Any, ...]) -> str:
        return ".".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name(path): f"{leaf.dtype.name}{list(leaf.shape)}" for path, leaf in leaves}
