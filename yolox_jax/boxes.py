"""Box formats, areas and intersection over union (IoU).

There are two formats, both in px: `xyxy` (left, top, right, bottom edge) and `cxcywh` (centre x, centre y, width,
height).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def cxcywh_to_xyxy(boxes: Float[Array, "*B 4"]) -> Float[Array, "*B 4"]:
    """Converts boxes from centre and size to edges.

    >>> cxcywh_to_xyxy(jnp.array([4.0, 3.0, 2.0, 6.0])).tolist()
    [3.0, 0.0, 5.0, 6.0]
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def area(boxes_xyxy: Float[Array, "*B 4"]) -> Float[Array, "*B"]:
    """Width times height, in square px.

    >>> float(area(jnp.array([3.0, 0.0, 5.0, 6.0])))
    12.0
    """
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def intersection(a_xyxy: Float[Array, "*#B 4"], b_xyxy: Float[Array, "*#B 4"]) -> Float[Array, "*B"]:
    """Area of the intersection of two boxes, in square px; 0 for boxes that only touch. Leading axes broadcast.

    >>> float(intersection(jnp.array([0.0, 0.0, 4.0, 4.0]), jnp.array([2.0, 1.0, 6.0, 9.0])))
    6.0
    """
    left, top = jnp.maximum(a_xyxy[..., 0], b_xyxy[..., 0]), jnp.maximum(a_xyxy[..., 1], b_xyxy[..., 1])
    right, bottom = jnp.minimum(a_xyxy[..., 2], b_xyxy[..., 2]), jnp.minimum(a_xyxy[..., 3], b_xyxy[..., 3])
    return jnp.where((right > left) & (bottom > top), (right - left) * (bottom - top), 0.0)


def pairwise_iou(a_xyxy: Float[Array, "*B N 4"], b_xyxy: Float[Array, "*B M 4"]) -> Float[Array, "*B N M"]:
    """IoU of every box of `a` with every box of `b`; 0 where the union is empty.

    >>> a = jnp.array([[0.0, 0.0, 4.0, 4.0]])
    >>> b = jnp.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]])
    >>> pairwise_iou(a, b).tolist()
    [[1.0, 0.5, 0.0]]
    """
    shared = intersection(a_xyxy[..., :, None, :], b_xyxy[..., None, :, :])
    return overlap_ratio(shared, area(a_xyxy)[..., :, None], area(b_xyxy)[..., None, :])


def overlap_ratio(
    shared: Float[Array, "*#B"], area_a: Float[Array, "*#B"], area_b: Float[Array, "*#B"]
) -> Float[Array, "*B"]:
    """IoU from the area of the intersection and those of the boxes; 0 where the union is empty or NaN.

    >>> float(overlap_ratio(jnp.float32(2.0), jnp.float32(4.0), jnp.float32(6.0)))
    0.25
    """
    union = area_a + area_b - shared
    return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1.0), 0.0)
