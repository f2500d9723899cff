"""Which weights belong to which level, so that a network with more levels starts from weights with fewer."""

import re
from collections.abc import Mapping
from typing import TypeVar

from yolox_jax.config import STRIDES

Value = TypeVar("Value")
_NECK_OF_LEVEL = {
    4: ("reduce_conv2", "C3_p2", "out3_cbl", "out3"),
    64: ("bu_conv0", "C3_n5", "down"),
}
"""Modules of the necks that levels besides those of YOLOX add (`yolox_jax.models.necks`)."""
_HEAD = re.compile(r"(head\.\w+)\.(\d+)\.(.+)")
"""Modules of the heads are numbered by level: `head.stems.0.conv.weight` is of the level with the smallest stride."""


def strides_of(names: Mapping[str, object]) -> tuple[int, ...]:
    """Strides of the levels of the network that has weights of these names."""
    modules = {tuple(name.split(".")[:2]) for name in names}
    added = [stride for stride, neck in _NECK_OF_LEVEL.items() if any(("backbone", one) in modules for one in neck)]
    return tuple(sorted([*STRIDES, *added]))


def level_of(name: str, strides: tuple[int, ...]) -> int | None:
    """Stride of the level that a weight belongs to alone; None if it is shared, or one of the neck of YOLOX."""
    if head := _HEAD.fullmatch(name):
        place = int(head[2])
        return strides[place] if place < len(strides) else None
    module = name.removeprefix("backbone.").split(".")[0]
    return next((stride for stride, neck in _NECK_OF_LEVEL.items() if module in neck), None)


def with_levels(state_dict: Mapping[str, Value], strides: tuple[int, ...]) -> dict[str, Value]:
    """Renumber the weights of the head for a network with other levels, so that each stays at its stride.

    Those of levels that the network does not have are left out.

    >>> with_levels({"head.stems.0.conv.weight": "at stride 8"}, (4, 8, 16, 32))
    {'head.stems.1.conv.weight': 'at stride 8'}

    Args:
        state_dict: weights by the original's names.
        strides: those of the network.
    """
    theirs = strides_of(state_dict)
    if theirs == strides:
        return dict(state_dict)
    renumbered = {}
    for name, value in state_dict.items():
        head, stride = _HEAD.fullmatch(name), level_of(name, theirs)
        if stride is not None and stride not in strides:
            continue
        if head and stride is not None:
            name = f"{head[1]}.{strides.index(stride)}.{head[3]}"
        renumbered[name] = value
    return renumbered
