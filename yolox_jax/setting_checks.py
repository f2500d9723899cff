"""Settings of inference and export that cannot work, told before anything is loaded."""

import math
from collections.abc import Sequence
from typing import Any

from yolox_jax.config import STRIDE, ConfigError

PRECISIONS = ("float32", "bfloat16", "float16")
"""What a network can compute in."""


def check_thresholds(score_threshold: float, iou_threshold: float) -> None:
    """Raise ConfigError where a threshold cannot work."""
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score threshold {score_threshold}: it lies between 0 and 1")
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"IoU threshold {iou_threshold}: it lies above 0 and up to 1")


def check_counts(batch_size: int, max_detections: int) -> None:
    """Raise ConfigError where a call of the network would have nothing to do."""
    if batch_size < 1 or max_detections < 1:
        raise ConfigError(f"batch size {batch_size}, most detections {max_detections}: both must be at least 1")


def check_precision(precision: str) -> None:
    """Raise ConfigError where a network cannot compute so."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def check_scales(scales: Sequence[float]) -> None:
    """Raise ConfigError where an image cannot be seen at these factors of the input size."""
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ConfigError(f"scales {list(scales)}: give one or more factors above 0, such as 1.0 and 1.25")


def check_input_size(size: Any) -> None:
    """Raise ConfigError where a network cannot take images of this height and width in px."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ConfigError(f"input size {size!r}: give height and width, such as (640, 640)")
    height, width = size
    if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
        raise ConfigError(f"input size {height} x {width}: height and width must be multiples of {STRIDE} px")


def check_class_names(class_names: Sequence[str], num_classes: int) -> None:
    """Raise ConfigError where names and classes differ in number."""
    if len(class_names) != num_classes:
        raise ConfigError(f"{len(class_names)} class names for a network with {num_classes} classes: name each of them")
