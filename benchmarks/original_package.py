"""Finds the original, in the package `pixeltable-yolox`, and makes it importable without torchvision."""

import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

HOW_TO_INSTALL = (
    "pip install torch loguru tabulate psutil tqdm && pip install --no-deps pixeltable-yolox (neither torchvision nor "
    "a GPU is needed)"
)


def is_installed() -> bool:
    """Return whether the original can be measured here, with what it needs itself."""
    needed = ("torch", "loguru", "tabulate", "psutil", "tqdm", "yolox")
    return all(importlib.util.find_spec(package) is not None for package in needed)


def stand_in_for_torchvision(batched_nms: Callable[..., Any] | None = None) -> None:
    """Put a stub in place of torchvision if it is not installed.

    The original imports torchvision only for non-maximum suppression, which data loading and training do not need.

    Args:
        batched_nms: replacement for the function of this name, which inference needs.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    torchvision, operations = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    operations.nms = None  # type: ignore[attr-defined]
    operations.batched_nms = batched_nms  # type: ignore[attr-defined]
    torchvision.ops = operations  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": torchvision, "torchvision.ops": operations})
