"""Splits the detections of a batch by image."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt

from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame
from yolox_jax.structures import Detections

logger = logging.getLogger(__name__)


def no_detections(error: str, class_names: Sequence[str] = ()) -> ImageDetections:
    """The detections of an image that could not be read; `class_names` has one per class."""
    return ImageDetections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        classes=np.zeros(0, np.int32),
        class_names=(),
        error=error,
        all_class_names=tuple(class_names),
    )


def unpack_detections(
    images: Sequence[UInt[np.ndarray, "_ _ C"]],
    detections: Detections,
    class_names: Sequence[str],
    sources: Sequence[Any],
) -> list[ImageDetections]:
    """Wait for the detections of a batch, and split them by image.

    Args:
        images: the images of the batch, without padding.
        detections: with boxes in pixels of the images.
        class_names: one per class.
        sources: each image as it was passed, or None if it must not be kept.
    """
    boxes, scores, classes, valid = (np.asarray(array) for array in detections)
    # Weights of a run that diverged can give infinite boxes.
    keep = valid & np.isfinite(boxes).all(axis=-1)
    return [
        ImageDetections(
            boxes=boxes[index][keep[index]],
            scores=scores[index][keep[index]],
            classes=classes[index][keep[index]],
            class_names=tuple(class_names[label] for label in classes[index][keep[index]]),
            image_size=(image.shape[0], image.shape[1]),
            all_class_names=tuple(class_names),
            source=source,
        )
        for index, (image, source) in enumerate(zip(images, sources, strict=True))
    ]


def frame_detections(
    frames: Sequence[Frame], detections: Detections | None, class_names: Sequence[str]
) -> Iterator[tuple[Frame, ImageDetections]]:
    """Pair frames with their detections; `detections` is None if no frame could be read."""
    readable = [(frame, frame.image) for frame in frames if frame.image is not None]
    # Frames of a video are not kept: detections that the caller collects would fill the memory.
    sources = [frame.path or image if frame.number is None else None for frame, image in readable]
    images = [image for _, image in readable]
    of_readable = iter(unpack_detections(images, detections, class_names, sources) if detections is not None else [])
    for frame in frames:
        if frame.image is None:
            logger.warning("skipped: %s %s", frame.location, frame.error)
            yield frame, no_detections(f"{frame.location} {frame.error}", class_names)
        else:
            yield frame, next(of_readable)
