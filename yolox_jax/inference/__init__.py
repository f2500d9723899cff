"""Inference: images and videos in, detections out.

`Detector` is imported on first use, since it loads jax, which reading and drawing images do without.
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
