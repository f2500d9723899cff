"""Label assignment as plain data: the anchors assigned to each object, and their costs where the rule has any."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt

from yolox_jax.anchors import anchor_points, boxes_per_cell
from yolox_jax.assignment import assign
from yolox_jax.assignment.costs import match_costs
from yolox_jax.assignment.one_to_one import one_to_one
from yolox_jax.assignment.ota import transport_costs
from yolox_jax.assignment.simota import dynamic_k
from yolox_jax.config import STRIDES, AssignmentConfig
from yolox_jax.config.assignment import YOLOV3_ANCHORS, AssignmentRule
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.pixels import to_float
from yolox_jax.models.yolox import YOLOX
from yolox_jax.structures import Assignment, Targets

RULES_WITH_COSTS: tuple[AssignmentRule, ...] = ("simota", "ota")


class AssignedAnchor(NamedTuple):
    """An anchor that is trained to predict an object."""

    place: int
    """Index among all anchors of the image."""
    stride: int
    """Stride of its level in px."""
    row: int
    """Row of its cell in the grid of its level."""
    column: int
    x: float
    """Centre of its cell in pixels of the network input."""
    y: float
    iou: float
    """IoU of its predicted box with the object."""
    cost: float | None
    """None if the rule has no costs."""
    box_of_cell: int | None = None
    """With anchor boxes: index among the boxes of its cell, the smallest first."""
    anchor_box: tuple[float, float] | None = None
    """With anchor boxes: width and height in px."""
    selected: bool | None = None
    """In an end-to-end network: whether it is the one that the object selects."""


class AssignedObject(NamedTuple):
    """An object and the anchors assigned to it."""

    class_index: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the network input."""
    dynamic_k: int | None
    """Number of anchors that it is assigned if there are enough candidates: about the sum of its best IoUs. None if the
    rule has no such number."""
    candidates: int | None
    """Number of candidate anchors. SimOTA: those near any object of the image, the same for all its objects. OTA: those
    inside the object and near its centre. None for other rules."""
    anchors: tuple[AssignedAnchor, ...]
    """Lowest cost first, or highest IoU if there are no costs."""


class ImageAssignment(NamedTuple):
    """The assignment of an image."""

    objects: list[AssignedObject]
    ignored: int | None = None
    """Number of predictions that the objectness loss ignores; None if the rule ignores none, or they are those of an
    anchor-free network with borrowed anchor boxes."""
    boxes_per_cell: int = 1
    """Number of predictions in a cell."""
    strides: tuple[int, ...] = STRIDES
    """Strides of the levels of the network in px."""


class _Found(NamedTuple):
    """Arrays of a batch; None where the rule, or the network, has no such thing."""

    assignment: Assignment
    cost: Float[Array, "B G A"] | None
    dynamic_k: Int[Array, "B G"] | None
    candidate: Bool[Array, "B G A"] | None
    selected: Bool[Array, "B A"] | None


def assigned_anchors(
    model: YOLOX, images: UInt[np.ndarray, "B H W C"], targets: Targets, config: AssignmentConfig
) -> list[ImageAssignment]:
    """Assign the anchors of a batch of images.

    The rule `yolov3` needs anchor boxes. For an anchor-free network, those of COCO take their place, and the prediction
    of a cell is repeated for each of its boxes: which anchors an object gets depends on its size and centre alone, and
    only the IoU is that of the anchor-free prediction.

    Args:
        model: in evaluation mode, so that the assignment of an image does not depend on the rest of the batch. Training
            assigns with predictions that use the statistics of the batch, which differ slightly.
        images: as a batch of training has them.
        targets: objects in pixels of the images.
        config: the rule and its settings.

    Returns:
        The valid objects of each image, in the order of their slots.
    """
    graphdef, state = nnx.split(model)
    raw = _predict(graphdef)(state, jnp.asarray(images))
    anchor_boxes = model.anchor_boxes
    is_borrowed = config.rule == "yolov3" and not anchor_boxes
    if is_borrowed:
        anchor_boxes = YOLOV3_ANCHORS
        raw = jnp.repeat(raw, boxes_per_cell(anchor_boxes), axis=1)
    size = images.shape[1], images.shape[2]
    found: _Found = jax.device_get(_assign(config, size, anchor_boxes, model.end_to_end)(raw, targets))
    per_cell = boxes_per_cell(anchor_boxes)
    anchors = _AnchorsOfBatch(found, *anchor_points(size, per_cell, model.strides), anchor_boxes)
    # The repeated predictions would each be counted several times.
    ignored = None if is_borrowed else found.assignment.ignored
    return [
        ImageAssignment(
            [
                _object(anchors, targets, image, slot)
                for slot in np.flatnonzero(np.asarray(targets.valid[image])).tolist()
            ],
            None if ignored is None else int(ignored[image].sum()),
            per_cell,
            model.strides,
        )
        for image in range(len(images))
    ]


class _AnchorsOfBatch(NamedTuple):
    found: _Found
    grid: Float[np.ndarray, "A 2"]
    stride: Float[np.ndarray, "A"]
    anchor_boxes: tuple[tuple[float, float], ...]

    def anchor(self, image: int, slot: int, index: int) -> AssignedAnchor:
        stride = int(self.stride[index])
        column, row = self.grid[index].astype(int).tolist()
        box_of_cell = anchor_box = None
        if self.anchor_boxes:
            per_cell = boxes_per_cell(self.anchor_boxes)
            box_of_cell = index % per_cell
            anchor_box = self.anchor_boxes[STRIDES.index(stride) * per_cell + box_of_cell]
        cost, selected = self.found.cost, self.found.selected
        return AssignedAnchor(
            place=index,
            stride=stride,
            row=row,
            column=column,
            x=(column + 0.5) * stride,
            y=(row + 0.5) * stride,
            iou=float(self.found.assignment.matched_iou[image, index]),
            cost=None if cost is None else float(cost[image, slot, index]),
            box_of_cell=box_of_cell,
            anchor_box=anchor_box,
            selected=None if selected is None else bool(selected[image, index]),
        )


def _object(anchors: _AnchorsOfBatch, targets: Targets, image: int, slot: int) -> AssignedObject:
    found = anchors.found
    taken = np.flatnonzero(found.assignment.matched_gt[image] == slot).tolist()
    ordered = sorted(
        (anchors.anchor(image, slot, index) for index in taken),
        key=lambda one: -one.iou if one.cost is None else one.cost,
    )
    x, y, width, height = np.asarray(targets.boxes[image, slot]).tolist()
    return AssignedObject(
        class_index=int(targets.classes[image, slot]),
        box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        dynamic_k=None if found.dynamic_k is None else int(found.dynamic_k[image, slot]),
        candidates=None if found.candidate is None else int(found.candidate[image, slot].sum()),
        anchors=tuple(ordered),
    )


@functools.cache
def _predict(graphdef: nnx.GraphDef) -> Callable[[Any, UInt[Array, "B H W C"]], Float[Array, "B A F"]]:
    # An end-to-end network is trained with the output of its branch apart.
    options = ForwardOptions(separate_one_to_one=True)
    return jax.jit(lambda state, images: nnx.merge(graphdef, state)(to_float(images), options))


@functools.cache
def _assign(
    config: AssignmentConfig,
    image_size: tuple[int, int],
    anchor_boxes: tuple[tuple[float, float], ...],
    end_to_end: bool,
) -> Callable[[Float[Array, "B A F"], Targets], _Found]:
    def found(raw: Float[Array, "B A F"], targets: Targets) -> _Found:
        with_branch, raw = raw, raw[..., :-1] if end_to_end else raw
        assigned = assign(raw, targets, image_size=image_size, config=config, anchors=anchor_boxes)
        selected = one_to_one(with_branch, targets, assigned, config=config).foreground if end_to_end else None
        match config.rule:
            case "simota":
                costs = match_costs(raw, targets, image_size=image_size, config=config)
                num_taken = dynamic_k(costs.iou, config.max_dynamic_k)
                return _Found(assigned, costs.cost, num_taken, costs.eligible, selected)
            case "ota":
                candidate, iou, pair, _ = transport_costs(raw, targets, image_size=image_size, config=config.ota)
                cost = pair + jnp.where(candidate, 0.0, config.ota.outside_cost)
                supply = dynamic_k(jnp.where(candidate, iou, 0.0), config.ota.top_ious)
                return _Found(assigned, cost, supply, candidate, selected)
            case _:
                return _Found(assigned, None, None, None, selected)

    return jax.jit(found)
