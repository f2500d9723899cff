"""The training losses (docs/yolox.md, 5).

Every loss is a masked sum over all anchors rather than a sum over the gathered foreground: shapes stay fixed, and the
gradient needs no scatter, which is not deterministic on GPUs (docs/yolox.md, 6.1).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from yolox_jax.anchors import anchor_points, decode_boxes
from yolox_jax.assignment import assign
from yolox_jax.boxes import cxcywh_to_xyxy, intersection
from yolox_jax.config import AssignmentConfig, LossConfig
from yolox_jax.structures import Targets


def detection_loss(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    l1_weight: ScalarLike = 0.0,
    config: LossConfig = LossConfig(),
    assignment: AssignmentConfig = AssignmentConfig(),
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss of a batch: assigns anchors to objects, then scores boxes, objectness and classes.

    Each part is a sum over the anchors of all images divided by the number of foreground anchors (at least 1). With o
    the objectness logit, c the class logits, v the IoU of the match and BCE the binary cross entropy::

        iou             iou_weight * sum over foreground of 1 - IoU^2
        objectness      objectness_weight * sum over all anchors of BCE(o, is foreground)
        classification  classification_weight * sum over foreground of BCE(c, v * one_hot(class))
        l1              l1_weight * sum over foreground of |raw box - encoded object|

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, of any float type; computed in float32.
        targets: objects, in pixels of the network input.
        image_size: height and width of the network input in px.
        l1_weight: 1 turns the L1 loss on, 0 off. It may be traced, so that switching does not recompile.
        config: weights of the losses.
        assignment: settings of SimOTA.
        axis_name: mapped axis the batch is split over. The number of foreground anchors is then that of the whole
            batch, and the losses are this device's share: they sum over the axis to the loss of the batch.

    Returns:
        The total, and a dict of its parts `iou`, `objectness`, `classification` and `l1`, each times its weight, and
        `num_foreground`, the number of foreground anchors (float32, may be 0).

    Raises:
        ValueError: the number of anchors does not match `image_size`, or `targets` has no slots.
    """
    raw = raw.astype(jnp.float32)
    assigned = assign(raw, targets, image_size=image_size, config=assignment)
    foreground = assigned.foreground
    slot = jnp.maximum(assigned.matched_gt, 0)
    boxes = jnp.take_along_axis(targets.boxes.astype(jnp.float32), slot[..., None], axis=1)
    classes = jnp.take_along_axis(targets.classes, slot, axis=1)

    num_foreground = jnp.sum(foreground, dtype=jnp.float32)
    if axis_name is not None:
        num_foreground = lax.psum(num_foreground, axis_name)
    normaliser = jnp.maximum(num_foreground, 1.0)

    # Masked here as well as in the losses, so that non-finite values on the background have gradient 0 instead of NaN.
    raw_boxes = jnp.where(foreground[..., None], raw[..., :4], 0.0)
    l1_weight = jnp.asarray(l1_weight, jnp.float32) * config.l1_weight
    iou = _iou_loss(decode_boxes(raw_boxes, image_size), boxes, foreground)
    classification = _classification_loss(raw[..., 5:], classes, assigned.matched_iou, foreground)
    parts = {
        "iou": config.iou_weight * iou / normaliser,
        "objectness": config.objectness_weight * jnp.sum(_cross_entropy(raw[..., 4], foreground)) / normaliser,
        "classification": config.classification_weight * classification / normaliser,
        "l1": l1_weight * _l1_loss(raw_boxes, boxes, image_size, foreground) / normaliser,
    }
    total = parts["iou"] + parts["objectness"] + parts["classification"] + parts["l1"]
    return total, parts | {"num_foreground": num_foreground}


def _iou_loss(
    predicted: Float[Array, "B A 4"], boxes: Float[Array, "B A 4"], foreground: Bool[Array, "B A"]
) -> Float[Array, ""]:
    """1 - IoU^2, summed over the foreground."""
    shared = intersection(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(boxes))
    union = jnp.prod(predicted[..., 2:], axis=-1) + jnp.prod(boxes[..., 2:], axis=-1) - shared
    return jnp.sum(jnp.where(foreground, 1 - (shared / (union + 1e-16)) ** 2, 0.0))


def _classification_loss(
    logits: Float[Array, "B A C"],
    classes: Int[Array, "B A"],
    matched_iou: Float[Array, "B A"],
    foreground: Bool[Array, "B A"],
) -> Float[Array, ""]:
    """Cross entropy with target IoU of the match for the object's class and 0 for the others."""
    own_class = jnp.arange(logits.shape[-1]) == classes[..., None]
    loss = _cross_entropy(logits, jnp.where(own_class, matched_iou[..., None], 0.0))
    return jnp.sum(jnp.where(foreground[..., None], loss, 0.0))


def _l1_loss(
    raw_boxes: Float[Array, "B A 4"],
    boxes: Float[Array, "B A 4"],
    image_size: tuple[int, int],
    foreground: Bool[Array, "B A"],
) -> Float[Array, ""]:
    """Distance between the raw output and the values that decode to the object's box."""
    grid, stride = anchor_points(image_size, raw_boxes.shape[1])
    scaled = boxes / stride[:, None]
    encoded = jnp.concatenate([scaled[..., :2] - grid, jnp.log(scaled[..., 2:] + 1e-8)], axis=-1)
    return jnp.sum(jnp.where(foreground[..., None], jnp.abs(raw_boxes - encoded), 0.0))


def _cross_entropy(logits: Float[Array, "*B"], target: Float[Array, "*B"] | Bool[Array, "*B"]) -> Float[Array, "*B"]:
    """Binary cross entropy of sigmoid(logits)."""
    return jax.nn.softplus(logits) - logits * target
