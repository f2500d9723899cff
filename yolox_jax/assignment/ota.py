"""OTA: assignment as optimal transport of labels from objects to anchors (docs/roadmap.md; arXiv 2103.14259).

SimOTA was simplified from it. The whole batch is one computation on arrays [B, G + 1, A], G object slots and the
background by A anchors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from yolox_jax.anchors import anchor_points, decode_boxes, level_strides
from yolox_jax.assignment.costs import clamped_log, class_scores, near_centre, pairwise_iou, sum_over_classes
from yolox_jax.assignment.simota import dynamic_k
from yolox_jax.config import OTAConfig
from yolox_jax.structures import Assignment, Targets

_LEAST_SUPPLY = 1e-8
"""Of the background, so that its logarithm is finite where objects supply labels for all anchors."""


class TransportCosts(NamedTuple):
    """Costs of every pair of an object slot and an anchor, and of leaving an anchor to the background."""

    candidate: Bool[Array, "B G A"]
    iou: Float[Array, "B G A"]
    pair: Float[Array, "B G A"]
    """Without the cost of anchors that are not candidates."""
    background: Float[Array, "B A"]


def ota(raw: Float[Array, "B A F"], targets: Targets, *, image_size: tuple[int, int], config: OTAConfig) -> Assignment:
    """Assigns each anchor to the object, or the background, that it gets its label from in the optimal plan.

    An object supplies as many positive labels as the sum of its best IoUs, at least one, the background supplies all
    others, and each anchor demands one. Rows of the plan are scaled to a largest entry of 1; an anchor goes to the row
    of its largest entry, the lowest slot among equals. So even an object without candidates may get an anchor. No
    gradient flows through it.

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, of any float type; computed in float32.
        targets: objects, in pixels of the network input.
        image_size: height and width of the network input in px.
        config: costs, supplies and the Sinkhorn iteration.
    """
    costs = transport_costs(raw, targets, image_size=image_size, config=config)
    log_plan = scaled_log_plan(costs, targets.valid, config)
    row = jnp.argmax(log_plan, axis=1).astype(jnp.int32)
    num_slots = targets.valid.shape[1]
    foreground = row < num_slots
    slot = jnp.minimum(row, num_slots - 1)
    iou = jnp.take_along_axis(costs.iou, slot[:, None], axis=1)[:, 0]
    return Assignment(foreground, jnp.where(foreground, row, -1), jnp.where(foreground, iou, 0.0))


def transport_costs(
    raw: Float[Array, "B A F"], targets: Targets, *, image_size: tuple[int, int], config: OTAConfig
) -> TransportCosts:
    """Costs of all pairs: focal loss of the class scores, and -log(IoU).

    Candidates of an object are the anchors whose centre is inside its box and near its centre.
    """
    raw = lax.stop_gradient(raw.astype(jnp.float32))
    boxes = lax.stop_gradient(targets.boxes.astype(jnp.float32))
    valid = targets.valid[:, :, None]
    strides = level_strides(raw.shape[1], image_size)
    near = near_centre(boxes, image_size, strides, config.center_radius)
    candidate = near & _inside(boxes, image_size, strides) & valid
    iou = jnp.where(valid, pairwise_iou(boxes, decode_boxes(raw[..., :4], image_size)), 0.0)

    score = class_scores(raw[..., 4:5], raw[..., 5:])
    positive_cost = -config.focal_alpha * (1 - score) ** config.focal_gamma * clamped_log(score)
    negative_cost = -(1 - config.focal_alpha) * score**config.focal_gamma * clamped_log(1 - score)
    class_cost = sum_over_classes(positive_cost, negative_cost, targets.classes)
    pair = class_cost + config.iou_cost * -jnp.log(iou + 1e-8)
    return TransportCosts(candidate, iou, pair, jnp.sum(negative_cost, axis=-1))


def _inside(
    boxes: Float[Array, "B G 4"], image_size: tuple[int, int], strides: tuple[int, ...]
) -> Bool[Array, "B G A"]:
    """Whether the centre of the anchor's cell is inside the box."""
    grid, stride = anchor_points(image_size, strides=strides)
    centres = (grid + 0.5) * stride[:, None]
    inside_x = jnp.abs(centres[:, 0] - boxes[:, :, 0, None]) < boxes[:, :, 2, None] / 2
    inside_y = jnp.abs(centres[:, 1] - boxes[:, :, 1, None]) < boxes[:, :, 3, None] / 2
    return inside_x & inside_y


def scaled_log_plan(costs: TransportCosts, valid: Bool[Array, "B G"], config: OTAConfig) -> Float[Array, "B G+1 A"]:
    """Logarithm of the transport plan, each row scaled to a largest entry of 1; the background is the last row.

    Rows of slots that are not valid hold -inf.
    """
    # What a whole row costs at least moves from the costs to the potential at which the row starts. The plan is the
    # same, but next to the 1e6 of an object without candidates, float32 would lose all other costs.
    has_candidates = jnp.any(costs.candidate, axis=-1, keepdims=True)
    is_cheap = costs.candidate | ~has_candidates
    lowest = jnp.min(jnp.where(is_cheap, costs.pair, jnp.inf), axis=-1, keepdims=True)
    relative = costs.pair - lowest + jnp.where(is_cheap, 0.0, config.outside_cost)
    start = -(lowest + jnp.where(has_candidates, 0.0, config.outside_cost))[..., 0]

    num_labels = dynamic_k(jnp.where(costs.candidate, costs.iou, 0.0), config.top_ious) * valid
    rest = costs.background.shape[-1] - jnp.sum(num_labels, axis=-1, keepdims=True)
    supply = jnp.concatenate([num_labels.astype(jnp.float32), jnp.maximum(rest, _LEAST_SUPPLY)], axis=-1)
    cost = jnp.concatenate([jnp.where(valid[..., None], relative, 0.0), costs.background[:, None]], axis=1)
    start = jnp.pad(jnp.where(valid, start, -jnp.inf), ((0, 0), (0, 1)))
    log_plan = _sinkhorn(-cost / config.entropy, jnp.log(supply), start / config.entropy, config.iterations)
    is_row = jnp.pad(valid, ((0, 0), (0, 1)), constant_values=True)
    return jnp.where(is_row[..., None], log_plan, -jnp.inf)


def _sinkhorn(
    log_kernel: Float[Array, "B R A"], log_supply: Float[Array, "B R"], start: Float[Array, "B R"], iterations: int
) -> Float[Array, "B R A"]:
    """Logarithm of the plan after `iterations`, each of the anchors' potentials first and then those of the rows.

    Potentials are divided by the entropy. A row that supplies nothing has the potential -inf. Where they start matters
    but for a constant: OTA starts all at 1, which is the same as 0.
    """

    def anchor_potentials(rows: Float[Array, "B R"]) -> Float[Array, "B A"]:
        return -jax.nn.logsumexp(log_kernel + rows[..., None], axis=1)  # each anchor demands 1, whose logarithm is 0

    def next_rows(rows: Float[Array, "B R"]) -> Float[Array, "B R"]:
        return log_supply - jax.nn.logsumexp(log_kernel + anchor_potentials(rows)[:, None], axis=2)

    # The last potentials of the rows would only scale the rows, which is undone below.
    rows = lax.fori_loop(0, iterations - 1, lambda _, rows: next_rows(rows), start)
    log_plan = log_kernel + anchor_potentials(rows)[:, None]
    return log_plan - jnp.max(log_plan, axis=2, keepdims=True)
