"""The original, from the package `pixeltable-yolox`: whether it is here, and how to import it without torchvision."""

import importlib.util
import sys
import types

HOW_TO_INSTALL = (
    "pip install torch loguru tabulate psutil tqdm && pip install --no-deps pixeltable-yolox (neither torchvision nor "
    "a GPU is needed)"
)


def is_installed() -> bool:
    """Whether the original can be measured here."""
    return all(importlib.util.find_spec(package) is not None for package in ("torch", "yolox"))


def stand_in_for_torchvision() -> None:
    """The package imports torchvision for suppression alone, which loading and training do without."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    torchvision, operations = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    for name in ("nms", "batched_nms"):
        setattr(operations, name, None)
    torchvision.ops = operations  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": torchvision, "torchvision.ops": operations})
