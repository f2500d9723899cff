"""Detection as one pure function of weights and images: network, decoding, and non-maximum suppression if needed."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt

from yolox_jax.config import STRIDE
from yolox_jax.models.fold import fold_batch_norm
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.one_to_one import fold_selection
from yolox_jax.models.pixels import to_float
from yolox_jax.models.yolox import YOLOX
from yolox_jax.postprocess import best_detections, decode, postprocess
from yolox_jax.structures import Detections


class View(NamedTuple):
    """One variant of the input for test-time augmentation: a size, possibly mirrored."""

    size: tuple[int, int]
    """Height and width in px, multiples of 32."""
    mirrored: bool = False
    """Flipped left to right."""


class Thresholds(NamedTuple):
    """What becomes a detection. These may be arrays: new values do not recompile."""

    score: Any
    """Lowest score of a detection."""
    iou: Any
    """Largest IoU of two detections that do not suppress each other. Like the next, unused in end-to-end networks."""
    class_agnostic: Any
    """Whether boxes of different classes suppress each other."""
    keep_classes: Any
    """Bool [C]: anchors whose best class is False here are dropped."""


def test_time_views(
    input_size: tuple[int, int], scales: Sequence[float] = (1.0,), *, flip: bool = False, stride: int = STRIDE
) -> list[View]:
    """Return the views of test-time augmentation, largest first, and at each scale the unmirrored one first.

    Args:
        input_size: height and width in px at scale 1.
        scales: factors of `input_size`; the sides are rounded to multiples of `stride`.
        flip: also mirror each scale.
        stride: largest stride of the network in px.
    """
    sizes = {tuple(max(stride, round(scale * side / stride) * stride) for side in input_size) for scale in scales}
    ordered = sorted(sizes, reverse=True)
    return [
        View((height, width), mirrored)
        for height, width in ordered
        for mirrored in ((False, True) if flip else (False,))
    ]


def prepare_for_inference(model: YOLOX, dtype: DTypeLike) -> tuple[nnx.GraphDef, nnx.State]:
    """Fold batch norm into the convolutions, and store and compute everything in `dtype`."""
    graphdef, state = nnx.split(fold_batch_norm(model).with_dtype(dtype))
    return graphdef, jax.tree.map(lambda x: x.astype(dtype), state)


def detect(
    graphdef: nnx.GraphDef,
    state: Any,
    images: UInt[Array, "B H W C"],
    ratios: Float[Array, " B"],
    thresholds: Thresholds,
    *,
    max_detections: int,
    views: Sequence[View] = (),
    options: ForwardOptions = ForwardOptions(),
) -> tuple[Detections, Float[Array, "B A F"]]:
    """Detect objects in letterboxed images.

    The detections of an end-to-end network are its best predictions; others need non-maximum suppression.

    Args:
        graphdef: from `prepare_for_inference`.
        state: from `prepare_for_inference`.
        images: BGR, or with the channels of the network, letterboxed, sides multiples of 32 px.
        ratios: the factor by which letterboxing scaled each image.
        thresholds: for the predictions to keep.
        max_detections: K.
        views: run the network on each of these views, and apply non-maximum suppression to the predictions of all of
            them together. By default the images as they are, the only view that suits an end-to-end network.
        options: static options of the forward pass.

    Returns:
        Detections in pixels of the images before letterboxing, not clipped to them (docs/yolox.md, 9.2), and the raw
        output of the network for the first view. That of an end-to-end network has the logit of its one-to-one branch
        as the last channel, as its loss needs it.
    """
    model = nnx.merge(graphdef, state)
    as_float = to_float(images)
    height, width = images.shape[1:3]
    views = views or [View((height, width))]
    if model.end_to_end:
        options = dataclasses.replace(options, separate_one_to_one=True)
    raw = [raw_output(model, as_float, view, options) for view in views]
    folded = [fold_selection(output) for output in raw] if model.end_to_end else raw
    views_decoded = [
        decode_view(output, view, (height, width), model.boxes_per_cell)
        for output, view in zip(folded, views, strict=True)
    ]
    decoded = jnp.concatenate(views_decoded, axis=1) if len(views_decoded) > 1 else views_decoded[0]
    if model.end_to_end:
        detections = best_detections(
            decoded,
            score_threshold=thresholds.score,
            max_detections=max_detections,
            keep_classes=thresholds.keep_classes,
        )
    else:
        detections = postprocess(
            decoded,
            score_threshold=thresholds.score,
            iou_threshold=thresholds.iou,
            class_agnostic=thresholds.class_agnostic,
            max_detections=max_detections,
            keep_classes=thresholds.keep_classes,
        )
    return detections._replace(boxes=detections.boxes / ratios[:, None, None]), raw[0]


def raw_output(
    model: YOLOX, images: Float[Array, "B H W C"], view: View, options: ForwardOptions
) -> Float[Array, "B A F"]:
    """Run the network on one view of the images."""
    batch, height, width, channels = images.shape
    if view.size != (height, width):
        images = jax.image.resize(images, (batch, *view.size, channels), "linear")
    if view.mirrored:
        images = images[:, :, ::-1]
    return model(images, options)


def decode_view(
    raw: Float[Array, "B A F"], view: View, image_size: tuple[int, int], per_cell: int = 1
) -> Float[Array, "B A F"]:
    """Decode the raw output for one view, with boxes in pixels of the images of height and width `image_size`."""
    decoded = decode(raw, image_size=view.size, per_cell=per_cell)
    if view.mirrored:
        decoded = decoded.at[..., 0].set(view.size[1] - decoded[..., 0])
    if view.size != image_size:
        height, width = image_size
        scale = jnp.array([width / view.size[1], height / view.size[0]] * 2)
        decoded = decoded.at[..., :4].multiply(scale)
    return decoded
