"""Predictions relative to anchor boxes, as in YOLOv3 (docs/roadmap.md)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from yolox_jax.anchors import anchor_levels, anchor_points
from yolox_jax.config import STRIDES


def relative_to_strides(
    raw: Float[Array, "B A F"], anchor_boxes: Sequence[tuple[float, float]], image_size: tuple[int, int]
) -> Float[Array, "B A F"]:
    """Convert predictions relative to anchor boxes into those of an anchor-free network, relative to strides.

    YOLOv3 decodes the centre (sigmoid(t) + cell) * stride and the size anchor * exp(t). The converted predictions are
    decoded as in an anchor-free network (docs/yolox.md, 3) and stand for the same boxes, so that nothing behind the
    network needs to know the anchor boxes::

        tx, ty -> sigmoid(tx), sigmoid(ty)
        tw, th -> tw + log(anchor width / stride), th + log(anchor height / stride)

    Args:
        raw: output of a head, with the anchors of a cell one after the other.
        anchor_boxes: width and height in px, a third of them for each level.
        image_size: height and width of the network input in px.
    """
    centres, scales = jax.nn.sigmoid(raw[..., :2]), raw[..., 2:4] + size_offsets(anchor_boxes, image_size)
    return jnp.concatenate([centres, scales, raw[..., 4:]], axis=-1)


def size_offsets(anchor_boxes: Sequence[tuple[float, float]], image_size: tuple[int, int]) -> Float[np.ndarray, "A 2"]:
    """log(anchor width / stride) and log(anchor height / stride) of every anchor, as float32 constants.

    Args:
        anchor_boxes: width and height in px, a third of them for each level.
        image_size: height and width of the network input in px.
    """
    _, stride = anchor_points(image_size)
    sizes = np.asarray(anchor_boxes, np.float32).reshape(len(STRIDES), -1, 2)[anchor_levels(image_size)]
    return np.log(sizes / stride[:, None, None]).reshape(-1, 2)
