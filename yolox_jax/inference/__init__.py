"""Inference: images and videos in, detections out.

`Detector` is imported on first use, because it loads jax, which is not needed to read or draw images.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolox_jax.inference.detector import Detector as Detector

__all__ = ["Detector"]


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from yolox_jax.inference.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
