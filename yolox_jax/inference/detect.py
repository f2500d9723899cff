"""Detection as one function of weights and images: network, decoding, suppression. Compiled or exported as a whole."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from yolox_jax.config import STRIDE
from yolox_jax.models.compiler_options import backend_options
from yolox_jax.models.fold import fold_batch_norm
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.yolox import YOLOX
from yolox_jax.postprocess import decode, postprocess
from yolox_jax.structures import Detections


class View(NamedTuple):
    """A way in which the network sees an image."""

    size: tuple[int, int]
    """Height and width in px, multiples of 32."""
    mirrored: bool = False
    """Left and right exchanged."""


class Thresholds(NamedTuple):
    """What becomes a detection; arrays or plain values, so that others compile nothing."""

    score: Any
    """Lowest score."""
    iou: Any
    """Largest IoU of two detections that may suppress each other."""
    class_agnostic: Any
    """Whether boxes of different classes suppress each other."""
    keep_classes: Any
    """Bool [C]: an anchor whose best class is not among these is no candidate."""


def views_of(input_size: tuple[int, int], scales: Sequence[float] = (1.0,), *, flip: bool = False) -> list[View]:
    """The views of test-time augmentation, the largest first.

    Args:
        input_size: height and width in px of scale 1.
        scales: factors of it; sides are rounded to multiples of 32.
        flip: see each scale mirrored as well.
    """
    sizes = {tuple(max(STRIDE, round(scale * side / STRIDE) * STRIDE) for side in input_size) for scale in scales}
    ordered = sorted(sizes, reverse=True)
    return [
        View((height, width), mirrored)
        for height, width in ordered
        for mirrored in ((False, True) if flip else (False,))
    ]


def prepared(model: YOLOX, dtype: DTypeLike) -> tuple[nnx.GraphDef, nnx.State]:
    """The network for inference: batch norm folded, computing in `dtype`, its weights stored so."""
    graphdef, state = nnx.split(fold_batch_norm(model).with_dtype(dtype))
    return graphdef, jax.tree.map(lambda x: x.astype(dtype), state)


def detect(
    graphdef: nnx.GraphDef,
    state: Any,
    images: UInt8[Array, "B H W 3"],
    ratios: Float[Array, " B"],
    thresholds: Thresholds,
    *,
    max_detections: int,
    views: Sequence[View] = (),
    options: ForwardOptions = ForwardOptions(),
) -> Detections:
    """Objects in letterboxed images.

    Args:
        graphdef: from `prepared`.
        state: from `prepared`.
        images: BGR, letterboxed, sides multiples of 32 px.
        ratios: the factor by which letterboxing scaled each image.
        thresholds: for the suppression.
        max_detections: K.
        views: the network sees the images in each of these ways, and the suppression chooses among all that it
            predicts. None: as they are.
        options: how the network is computed.

    Returns:
        Detections in px of the images before letterboxing, not clipped to them (SPEC A5).
    """
    model = nnx.merge(graphdef, state)
    seen = images.astype(jnp.float32)
    size = images.shape[1:3]
    decoded = [predictions(model, seen, view, options) for view in views or [View((size[0], size[1]))]]
    detections = postprocess(
        jnp.concatenate(decoded, axis=1) if len(decoded) > 1 else decoded[0],
        score_threshold=thresholds.score,
        iou_threshold=thresholds.iou,
        class_agnostic=thresholds.class_agnostic,
        max_detections=max_detections,
        keep_classes=thresholds.keep_classes,
    )
    return detections._replace(boxes=detections.boxes / ratios[:, None, None])


def predictions(
    model: YOLOX, images: Float[Array, "B H W 3"], view: View, options: ForwardOptions = ForwardOptions()
) -> Float[Array, "B A F"]:
    """Decoded predictions from one view, their boxes in px of `images`."""
    batch, height, width, _ = images.shape
    if view.size != (height, width):
        images = jax.image.resize(images, (batch, *view.size, 3), "linear")
    if view.mirrored:
        images = images[:, :, ::-1]
    decoded = decode(model(images, options), image_size=view.size)
    if view.mirrored:
        decoded = decoded.at[..., 0].set(view.size[1] - decoded[..., 0])
    if view.size != (height, width):
        scale = jnp.array([width / view.size[1], height / view.size[0]] * 2)
        decoded = decoded.at[..., :4].multiply(scale)
    return decoded


@functools.cache
def compiled(graphdef: nnx.GraphDef, mesh: Mesh, views: tuple[View, ...]) -> Callable[..., Detections]:
    """The same function for all detectors of one network on the same devices, which share what it has compiled.

    A static argument would do that too, but jax would hash the network at each call, which takes milliseconds.
    """
    on_device = functools.partial(detect, graphdef, views=views)
    if mesh.size == 1:  # the split would cost half a millisecond a call
        return jax.jit(on_device, static_argnames="max_detections", compiler_options=backend_options())

    def detect_in_shares(*arrays: Any, max_detections: int) -> Detections:
        whole, split = PartitionSpec(), PartitionSpec(*mesh.axis_names)
        return jax.shard_map(
            functools.partial(on_device, max_detections=max_detections),
            mesh=mesh,
            in_specs=(whole, split, split, whole),
            out_specs=split,
            check_vma=False,  # it refuses loops that start from constants, as those of the suppression do
        )(*arrays)

    return jax.jit(detect_in_shares, static_argnames="max_detections", compiler_options=backend_options())
