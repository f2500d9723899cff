"""Detection frame by frame: frames are read in batches, while the device works."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt

from yolox_jax.config import ConfigError
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame, Frames, next_frames
from yolox_jax.inference.unpacking import frame_detections
from yolox_jax.structures import Detections


def detect_frames(
    source: Frames,
    dispatch: Callable[[Sequence[UInt[np.ndarray, "_ _ _"]]], Detections],
    batch_size: int,
    class_names: Sequence[str],
) -> Iterator[tuple[Frame, ImageDetections]]:
    """Yield each frame with its detections, in order.

    Args:
        source: is not closed.
        dispatch: starts detecting in up to `batch_size` images, without waiting for the device.
        batch_size: frames to read at a time; those of a live source are yielded before more are read.
        class_names: one per class.

    Raises:
        ConfigError: reading the source fails; the frames before are yielded first.
    """
    pending: tuple[list[Frame], Detections | None] | None = None
    failure: ConfigError | None = None
    while failure is None:
        batch, failure = next_frames(source.frames, batch_size)
        if not batch:
            break
        images = [frame.image for frame in batch if frame.image is not None]
        dispatched = batch, dispatch(images) if images else None
        if source.is_live:
            yield from frame_detections(*dispatched, class_names)
            continue
        # Yield one batch late, so that the device works while the caller uses the previous batch.
        if pending is not None:
            yield from frame_detections(*pending, class_names)
        pending = dispatched
    if pending is not None:
        yield from frame_detections(*pending, class_names)
    if failure is not None:
        raise failure
