"""Joins the outputs of all levels as ONNX nodes, in float32 for every precision of the network.

The result has the coding of an anchor-free network without a one-to-one branch, as the raw output of every model has it
(`yolox_jax.models.YOLOX`), so that the nodes behind are the same for all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yolox_jax.anchors import anchor_points, boxes_per_cell
from yolox_jax.config import STRIDES
from yolox_jax.export.onnx_graph import Graph
from yolox_jax.models.anchor_boxes import size_offsets


class RawOutput(NamedTuple):
    """The raw output of a network."""

    value: str
    """[N, 5 + C, A], channels first, so that maxima over classes read contiguous rows."""
    image_size: tuple[int, int]
    """Height and width of the network input in px."""
    num_classes: int
    """C."""
    boxes_per_cell: int = 1
    strides: tuple[int, ...] = STRIDES

    @property
    def num_anchors(self) -> int:
        """A."""
        return len(anchor_points(self.image_size, self.boxes_per_cell, self.strides)[1])


def write_raw(
    graph: Graph,
    levels: Sequence[str],
    image_size: tuple[int, int],
    num_classes: int,
    *,
    strides: tuple[int, ...] = STRIDES,
    anchor_boxes: Sequence[tuple[float, float]] = (),
    end_to_end: bool = False,
) -> RawOutput:
    """Add the raw output.

    Args:
        graph: nodes are added to it.
        levels: the output of `write_network`.
        image_size: height and width of the network input in px.
        num_classes: C.
        strides: those of the levels.
        anchor_boxes: those of the network.
        end_to_end: whether the last value of an anchor is the logit of the one-to-one branch.
    """
    per_cell = boxes_per_cell(anchor_boxes)
    num_values = 5 + num_classes + end_to_end
    rows = [
        _anchors_last(graph, level, stride, num_values, per_cell, image_size)
        for level, stride in zip(levels, strides, strict=True)
    ]
    raw = graph.add("Concat", rows, "decode/raw", axis=2)
    if graph.precision != "float32":
        raw = graph.cast(raw, "float32", "decode/float32")
    if anchor_boxes:
        raw = _relative_to_strides(graph, raw, num_values, anchor_boxes, image_size)
    if end_to_end:
        raw = _fold_selection(graph, raw, num_classes)
    return RawOutput(raw, image_size, num_classes, per_cell, strides)


def _anchors_last(
    graph: Graph, level: str, stride: int, num_values: int, per_cell: int, image_size: tuple[int, int]
) -> str:
    """Reshape one level to [N, values, anchors]; the anchors of a cell come one after the other."""
    height, width = image_size
    num_cells = (height // stride) * (width // stride)
    name = f"decode/stride{stride}"
    if per_cell == 1:
        return graph.add("Reshape", [level, graph.integers(0, num_values, num_cells)], name)
    by_box = graph.add(
        "Reshape", [level, graph.integers(0, num_values, per_cell, num_cells)], f"{name}/boxes_and_cells"
    )
    by_cell = graph.add("Transpose", [by_box], f"{name}/cells_and_boxes", perm=[0, 1, 3, 2])
    return graph.add("Reshape", [by_cell, graph.integers(0, num_values, num_cells * per_cell)], name)


def _relative_to_strides(
    graph: Graph, raw: str, num_values: int, anchor_boxes: Sequence[tuple[float, float]], image_size: tuple[int, int]
) -> str:
    """As `yolox_jax.models.anchor_boxes.relative_to_strides`."""
    name = "anchor_boxes"
    parts = [raw, graph.integers(2, 2, num_values - 4)]
    shifts, logs, rest = graph.add_many("Split", parts, f"{name}/split", ["centre", "size", "rest"], axis=1)
    centres = graph.add("Sigmoid", [shifts], f"{name}/centre")
    offsets = graph.constant(f"{name}/offsets", np.float32(size_offsets(anchor_boxes, image_size).T[None]))
    sizes = graph.add("Add", [logs, offsets], f"{name}/size")
    return graph.add("Concat", [centres, sizes, rest], f"{name}/raw", axis=1)


def _fold_selection(graph: Graph, raw: str, num_classes: int) -> str:
    """As `yolox_jax.models.one_to_one.fold_selection`."""
    name = "one_to_one"
    parts = [raw, graph.integers(4, 1, num_classes, 1)]
    outputs = ["box", "objectness", "classes", "selection"]
    boxes, objectness, classes, selection = graph.add_many("Split", parts, f"{name}/split", outputs, axis=1)
    opposites = [graph.add("Neg", [logit], f"{logit}/opposite") for logit in (objectness, selection)]
    both = graph.add("Add", opposites, f"{name}/both")
    logits = graph.add("Concat", [*opposites, both], f"{name}/logits", axis=1)
    folded = graph.add("Neg", [graph.reduce("ReduceLogSumExp", logits, 1, f"{name}/sum")], f"{name}/folded")
    return graph.add("Concat", [boxes, folded, classes], f"{name}/raw", axis=1)
