"""The training losses (docs/yolox.md, 5; docs/roadmap.md).

Every loss is a masked sum over all anchors rather than a sum over the gathered foreground: shapes stay fixed, and the
gradient needs no scatter, which is not deterministic on GPUs (docs/yolox.md, 6.1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from yolox_jax.anchors import anchor_points, boxes_per_cell, decode_boxes, level_strides
from yolox_jax.assignment import assign
from yolox_jax.assignment.one_to_one import one_to_one
from yolox_jax.boxes import cxcywh_to_xyxy, intersection
from yolox_jax.config import AssignmentConfig, LossConfig
from yolox_jax.models.one_to_one import product_logit
from yolox_jax.structures import Assignment, Targets

Number = float | Float[Array, ""]


class LossWeights(NamedTuple):
    """The settings in `LossConfig` as numbers that may be traced, so that changing one does not recompile.

    None leaves out what the number controls, and the program is that of the plain loss.
    """

    iou_weight: Number
    objectness_weight: Number
    classification_weight: Number
    l1_weight: Number
    one_to_one_weight: Number
    class_weights: Float[np.ndarray, " C"] | Float[Array, " C"] | None = None
    """Weight of the objects of each class."""
    classification_focal_gamma: Number | None = None
    classification_focal_alpha: Number | None = None
    objectness_focal_gamma: Number | None = None
    objectness_focal_alpha: Number | None = None
    label_smoothing: Number | None = None


def loss_weights(config: LossConfig, class_weights: Sequence[float] | None = None) -> LossWeights:
    """The numbers of a config; `class_weights`, by class index, are its weights of classes on a training set."""
    numbers = {name: getattr(config, name) for name in LossWeights._fields}
    numbers["class_weights"] = None if class_weights is None else np.asarray(class_weights, np.float32)
    return LossWeights(**numbers | {"label_smoothing": config.label_smoothing or None})


def detection_loss(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    l1_weight: ScalarLike = 0.0,
    config: LossConfig | LossWeights = LossConfig(),
    assignment: AssignmentConfig = AssignmentConfig(),
    anchors: tuple[tuple[float, float], ...] = (),
    end_to_end: bool = False,
    axis_name: str | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss of a batch: assigns anchors to objects, then scores boxes, objectness and classes.

    Each part is a sum over the anchors of all images divided by the number of foreground anchors (at least 1). With o
    the objectness logit, c the class logits, v the IoU of the match and BCE the binary cross entropy::

        iou             iou_weight * sum over foreground of 1 - IoU^2
        objectness      objectness_weight * sum over all anchors that are not ignored of BCE(o, is foreground)
        classification  classification_weight * sum over foreground of BCE(c, v * one_hot(class))
        l1              l1_weight * sum over foreground of |raw box - encoded object|

    Class weights, focal loss and label smoothing change the sums over BCE as docs/yolox.md, 5.1 says.

    An end-to-end network has one more part, divided by the number of anchors selected one-to-one (at least 1) instead.
    With p the product of class probability, objectness and the probability of being the one::

        one_to_one      one_to_one_weight * sum over all anchors and classes of BCE of p, is selected for that class

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, of any float type; computed in float32. If
            `end_to_end`, the logit of being the one comes last.
        targets: objects, in pixels of the network input.
        image_size: height and width of the network input in px.
        l1_weight: 1 turns the L1 loss on, 0 off. It may be traced, so that switching does not recompile.
        config: weights of the losses; `LossWeights` if classes have weights too.
        assignment: rule and settings of the assignment.
        anchors: width and height in px of the anchor boxes of the network, for the rule `yolov3`.
        end_to_end: whether the network selects one prediction for each object.
        axis_name: mapped axis the batch is split over. The number of foreground anchors is then that of the whole
            batch, and the losses are this device's share: they sum over the axis to the loss of the batch.

    Returns:
        The total, and a dict of its parts `iou`, `objectness`, `classification`, `l1` and, if `end_to_end`,
        `one_to_one`, each times its weight, and `num_foreground`, the number of foreground anchors (float32, may be 0).

    Raises:
        ValueError: the number of anchors does not match `image_size` and `anchors`, `targets` has no slots, or `config`
            gives weights of classes by their names.
    """
    weights = _numbers(config)
    all_channels = raw.astype(jnp.float32)
    raw = all_channels[..., :-1] if end_to_end else all_channels
    assigned = assign(raw, targets, image_size=image_size, config=assignment, anchors=anchors)
    foreground = assigned.foreground
    slot = jnp.maximum(assigned.matched_gt, 0)
    boxes = jnp.take_along_axis(targets.boxes.astype(jnp.float32), slot[..., None], axis=1)
    classes = jnp.take_along_axis(targets.classes, slot, axis=1)

    num_foreground = _count(foreground, axis_name)
    normaliser = jnp.maximum(num_foreground, 1.0)

    # Masked here as well as in the losses, so that non-finite values on the background have gradient 0 instead of NaN.
    raw_boxes = jnp.where(foreground[..., None], raw[..., :4], 0.0)
    l1_weight = jnp.asarray(l1_weight, jnp.float32) * weights.l1_weight
    per_cell = boxes_per_cell(anchors)
    points = anchor_points(image_size, per_cell, level_strides(raw.shape[1], image_size, per_cell))
    iou = _iou_loss(decode_boxes(raw_boxes, image_size, per_cell), boxes, foreground)
    classification = _classification_loss(raw[..., 5:], classes, assigned.matched_iou, foreground, weights)
    parts = {
        "iou": weights.iou_weight * iou / normaliser,
        "objectness": weights.objectness_weight * _objectness_loss(raw[..., 4], assigned, weights) / normaliser,
        "classification": weights.classification_weight * classification / normaliser,
        "l1": l1_weight * _l1_loss(raw_boxes, boxes, *points, foreground) / normaliser,
    }
    total = parts["iou"] + parts["objectness"] + parts["classification"] + parts["l1"]
    if end_to_end:
        selected = one_to_one(all_channels, targets, assigned, config=assignment).foreground
        one_to_one_loss = _one_to_one_loss(all_channels, classes, selected)
        num_selected = jnp.maximum(_count(selected, axis_name), 1.0)
        parts["one_to_one"] = weights.one_to_one_weight * one_to_one_loss / num_selected
        total = total + parts["one_to_one"]
    return total, parts | {"num_foreground": num_foreground}


def _numbers(config: LossConfig | LossWeights) -> LossWeights:
    if isinstance(config, LossWeights):
        return config
    if config.class_weights:
        raise ValueError(
            "detection_loss knows classes by index, not by the names in LossConfig.class_weights. Pass "
            "loss_weights(config, yolox_jax.data.class_weights.class_weights(config, train_set))"
        )
    return loss_weights(config)


def _count(mask: Bool[Array, "B A"], axis_name: str | None) -> Float[Array, ""]:
    """Number of anchors in the mask, over all devices."""
    count = jnp.sum(mask, dtype=jnp.float32)
    return count if axis_name is None else lax.psum(count, axis_name)


def _iou_loss(
    predicted: Float[Array, "B A 4"], boxes: Float[Array, "B A 4"], foreground: Bool[Array, "B A"]
) -> Float[Array, ""]:
    """1 - IoU^2, summed over the foreground."""
    shared = intersection(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(boxes))
    union = jnp.prod(predicted[..., 2:], axis=-1) + jnp.prod(boxes[..., 2:], axis=-1) - shared
    return jnp.sum(jnp.where(foreground, 1 - (shared / (union + 1e-16)) ** 2, 0.0))


def _objectness_loss(logits: Float[Array, "B A"], assigned: Assignment, weights: LossWeights) -> Float[Array, ""]:
    """Cross entropy with target 1 on the foreground, summed over the anchors that are not ignored."""
    loss = _focal(logits, assigned.foreground, weights.objectness_focal_gamma, weights.objectness_focal_alpha)
    return jnp.sum(loss if assigned.ignored is None else jnp.where(assigned.ignored, 0.0, loss))


def _classification_loss(
    logits: Float[Array, "B A C"],
    classes: Int[Array, "B A"],
    matched_iou: Float[Array, "B A"],
    foreground: Bool[Array, "B A"],
    weights: LossWeights,
) -> Float[Array, ""]:
    """Cross entropy with target IoU of the match for the object's class and 0 for the others."""
    own_class = jnp.arange(logits.shape[-1]) == classes[..., None]
    target = jnp.where(own_class, matched_iou[..., None], 0.0)
    if weights.label_smoothing is not None:
        spread = weights.label_smoothing * matched_iou[..., None] / logits.shape[-1]
        target = (1 - weights.label_smoothing) * target + spread
    loss = _focal(logits, target, weights.classification_focal_gamma, weights.classification_focal_alpha)
    if weights.class_weights is not None:
        loss = loss * jnp.sum(jnp.where(own_class, weights.class_weights, 0.0), axis=-1, keepdims=True)
    return jnp.sum(jnp.where(foreground[..., None], loss, 0.0))


def _l1_loss(
    raw_boxes: Float[Array, "B A 4"],
    boxes: Float[Array, "B A 4"],
    grid: Float[np.ndarray, "A 2"],
    stride: Float[np.ndarray, "A"],
    foreground: Bool[Array, "B A"],
) -> Float[Array, ""]:
    """Distance between the raw output and the values that decode to the object's box."""
    scaled = boxes / stride[:, None]
    encoded = jnp.concatenate([scaled[..., :2] - grid, jnp.log(scaled[..., 2:] + 1e-8)], axis=-1)
    return jnp.sum(jnp.where(foreground[..., None], jnp.abs(raw_boxes - encoded), 0.0))


def _one_to_one_loss(
    raw: Float[Array, "B A F"], classes: Int[Array, "B A"], selected: Bool[Array, "B A"]
) -> Float[Array, ""]:
    """Cross entropy of the scores with target 1 for the selected anchors in the class of their object, else 0.

    Its gradient reaches the logit of being the one alone. The score enters by its logit rather than as a product of
    probabilities, so that neither the loss nor the gradient overflows or loses digits where probabilities are 0 or 1.
    """
    score = lax.stop_gradient(product_logit(raw[..., 5:-1], raw[..., 4:5]))
    own_class = jnp.arange(score.shape[-1]) == classes[..., None]
    return jnp.sum(_cross_entropy(product_logit(score, raw[..., -1:]), own_class & selected[..., None]))


def _focal(
    logits: Float[Array, "*B"],
    target: Float[Array, "*B"] | Bool[Array, "*B"],
    gamma: Number | None,
    alpha: Number | None,
) -> Float[Array, "*B"]:
    """Cross entropy times |target - p|^gamma times the weight of the target, alpha for 1 and 1 - alpha for 0.

    For the targets 0 and 1 this is the focal loss (Lin et al., arXiv 1708.02002, section 3), for those between them the
    quality focal loss (Li et al., arXiv 2006.04388, section 3), whose minimum is at the target.
    """
    loss = _cross_entropy(logits, target)
    if gamma is not None:
        loss = jnp.abs(target.astype(jnp.float32) - jax.nn.sigmoid(logits)) ** gamma * loss
    if alpha is not None:
        loss = (alpha * target + (1 - alpha) * (1 - target.astype(jnp.float32))) * loss
    return loss


def _cross_entropy(logits: Float[Array, "*B"], target: Float[Array, "*B"] | Bool[Array, "*B"]) -> Float[Array, "*B"]:
    """Binary cross entropy of sigmoid(logits)."""
    return jax.nn.softplus(logits) - logits * target
