"""Checks the arguments that inference, evaluation and export share."""

import math
from collections.abc import Sequence
from typing import Any

from yolox_jax.config import STRIDE, ConfigError

PRECISIONS = ("float32", "bfloat16", "float16")
"""Dtypes that a network can compute in."""


def check_thresholds(score_threshold: float, iou_threshold: float) -> None:
    """Raise ConfigError if a threshold is out of range."""
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"invalid score threshold {score_threshold}: it must be between 0 and 1")
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"invalid IoU threshold {iou_threshold}: it must be above 0 and at most 1")


def check_counts(batch_size: int, max_detections: int) -> None:
    """Raise ConfigError if the batch size or the maximum number of detections is below 1."""
    if batch_size < 1:
        raise ConfigError(f"invalid batch size {batch_size}: it must be at least 1")
    if max_detections < 1:
        raise ConfigError(f"invalid maximum number of detections {max_detections}: it must be at least 1")


def check_precision(precision: str) -> None:
    """Raise ConfigError if no network can compute in this dtype."""
    if precision not in PRECISIONS:
        raise ConfigError(f"invalid precision {precision!r}: it must be one of {', '.join(PRECISIONS)}")


def check_scales(scales: Sequence[float]) -> None:
    """Raise ConfigError unless there is at least one scale and all are positive and finite."""
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ConfigError(
            f"invalid scales {list(scales)}: they must be one or more factors above 0, such as 1.0 and 1.25"
        )


def check_tiles(tile: Any, overlap: float) -> None:
    """Raise ConfigError unless `tile` is the side of a tile in px, "auto" or None, and `overlap` a fraction below 1."""
    is_number = isinstance(tile, int) and not isinstance(tile, bool)
    if tile is not None and tile != "auto" and not (is_number and tile >= STRIDE):
        raise ConfigError(
            f"--tile must be the side of a tile, at least {STRIDE} px, or auto for that of the network's input; got "
            f"{tile}"
        )
    if not 0 <= overlap < 1:
        raise ConfigError(f"--overlap must be a fraction of a tile, at least 0 and below 1; got {overlap}")


def check_suppression(nms: bool | None, *, end_to_end: bool) -> None:
    """Raise ConfigError unless non-maximum suppression is used where the network needs it, and only there.

    Args:
        nms: whether suppression is asked for; None leaves it to the network.
        end_to_end: whether the network selects one prediction for each object.
    """
    if nms and end_to_end:
        raise ConfigError(
            "nms asks for non-maximum suppression, but the network is end-to-end: it selects one prediction for each "
            "object itself. Leave nms out, or use a network trained without model.end_to_end"
        )
    if nms is False and not end_to_end:
        raise ConfigError(
            "nms turns non-maximum suppression off, but the network predicts each object several times and needs it. "
            "Leave nms out, or use a network trained with model.end_to_end"
        )


def check_views(scales: Sequence[float], *, flip: bool, end_to_end: bool) -> None:
    """Raise ConfigError if test-time augmentation is on for a network without non-maximum suppression."""
    if end_to_end and (flip or tuple(scales) != (1.0,)):
        raise ConfigError(
            f"{'flip' if flip else 'scales'} turns on test-time augmentation, which predicts each object once in every "
            "view and needs non-maximum suppression to merge them, but the network is end-to-end and has none. Leave "
            "out flip and scales, or use a network trained without model.end_to_end"
        )


def check_input_size(size: Any, stride: int = STRIDE) -> None:
    """Raise ConfigError unless `size` is a height and a width in px that the network accepts.

    Args:
        size: a value from the user.
        stride: largest stride of the network in px.
    """
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ConfigError(f"invalid input size {size!r}: pass a height and a width, such as (640, 640)")
    height, width = size
    if height < stride or width < stride or height % stride or width % stride:
        raise ConfigError(f"invalid input size {height} x {width}: height and width must be multiples of {stride} px")


def check_class_names(class_names: Sequence[str], num_classes: int) -> None:
    """Raise ConfigError unless there is one name per class."""
    if len(class_names) != num_classes:
        raise ConfigError(
            f"got {len(class_names)} class names for a network with {num_classes} classes; pass one per class"
        )
