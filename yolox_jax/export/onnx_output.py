"""Decoding, non-maximum suppression and the choice of the best predictions as ONNX nodes, in float32.

All compute the same as `yolox_jax.postprocess` (docs/yolox.md, 3 and 9.2).
"""

from typing import NamedTuple

import numpy as np

from yolox_jax.anchors import anchor_points
from yolox_jax.export.onnx_graph import Graph, Value
from yolox_jax.export.onnx_raw import RawOutput
from yolox_jax.export.settings import Suppression


class _Decoded(NamedTuple):
    """Parts of the raw output, channels first, with boxes decoded."""

    centres: str
    """[N, 2, A], px of the network input, as is the next."""
    sizes: str
    objectness: str
    """Logits [N, 1, A]."""
    classes: str
    """Logits [N, C, A]."""


def write_predictions(graph: Graph, raw: RawOutput, batch: int | str) -> list[Value]:
    """Add the output `predictions`: float32 [N, A, 5 + C] as `yolox_jax.postprocess.decode` returns it.

    Args:
        graph: nodes are added to it.
        raw: from `write_raw`.
        batch: number of images, or a name for any number.
    """
    decoded = _decode(graph, raw)
    logits = graph.add("Concat", [decoded.objectness, decoded.classes], "decode/logits", axis=1)
    scores = graph.add("Sigmoid", [logits], "decode/scores")
    joined = graph.add("Concat", [decoded.centres, decoded.sizes, scores], "decode/joined", axis=1)
    output = graph.add("Transpose", [joined], "predictions", perm=[0, 2, 1])
    return [Value(output, "float32", (batch, raw.num_anchors, 5 + raw.num_classes))]


def write_detections(
    graph: Graph, raw: RawOutput, ratios: str, batch: int | str, suppression: Suppression
) -> list[Value]:
    """Add the outputs `boxes`, `scores`, `classes` and `count`, as `yolox_jax.postprocess.postprocess`.

    Args:
        graph: nodes are added to it.
        raw: from `write_raw`.
        ratios: float32 [N], the factor by which letterboxing scaled each image.
        batch: number of images, or a name for any number.
        suppression: K and the thresholds.
    """
    decoded = _decode(graph, raw)
    candidates = _candidates(graph, decoded, raw.num_classes, suppression.score_threshold)
    kept = _suppress(graph, candidates, raw.num_classes, suppression)
    _compact(graph, _in_original_px(graph, candidates, ratios), kept, suppression.max_detections)
    return _outputs(batch, suppression.max_detections)


def write_best_detections(
    graph: Graph, raw: RawOutput, ratios: str, batch: int | str, suppression: Suppression
) -> list[Value]:
    """Add the outputs of an end-to-end network, as `yolox_jax.postprocess.best_detections`: no suppression, no sorting.

    Args:
        graph: nodes are added to it.
        raw: from `write_raw`.
        ratios: float32 [N], the factor by which letterboxing scaled each image.
        batch: number of images, or a name for any number.
        suppression: K and the score threshold; the others are not used.
    """
    decoded = _decode(graph, raw)
    scores, good = _scores(graph, decoded, suppression.score_threshold)
    num_best = min(suppression.max_detections, raw.num_anchors)
    best = _in_original_px(
        graph, _ranked(graph, decoded, raw.num_classes, scores, good, graph.integers(num_best)), ratios
    )
    valid = graph.add("GreaterOrEqual", [best.scores, "score/threshold"], "output/valid")
    valid_boxes = graph.add("Unsqueeze", [valid, graph.integers(2)], "output/valid_boxes")
    labels = graph.cast(best.classes, "int32", "output/labels")
    unused = suppression.max_detections - num_best
    for name, is_valid, values, filling in (
        ("boxes", valid_boxes, best.boxes, np.float32(0)),
        ("scores", valid, best.scores, np.float32(0)),
        ("classes", valid, labels, np.int32(-1)),
    ):
        fill = graph.constant(f"output/{name}/filling", filling)
        found = graph.add("Where", [is_valid, values, fill], f"output/{name}/found" if unused else name)
        if unused:
            ends = (0, 0, 0, 0, unused, 0) if name == "boxes" else (0, 0, 0, unused)
            graph.add("Pad", [found, graph.integers(*ends), fill], name)
    _count(graph, valid)
    return _outputs(batch, suppression.max_detections)


def _outputs(batch: int | str, slots: int) -> list[Value]:
    return [
        Value("boxes", "float32", (batch, slots, 4)),
        Value("scores", "float32", (batch, slots)),
        Value("classes", "int32", (batch, slots)),
        Value("count", "int32", (batch,)),
    ]


def _decode(graph: Graph, raw: RawOutput) -> _Decoded:
    parts = [raw.value, graph.integers(2, 2, 1, raw.num_classes)]
    names = ["centre", "size", "objectness", "classes"]
    shifts, logs, objectness, classes = graph.add_many("Split", parts, "decode/split", names, axis=1)
    grid, stride = anchor_points(raw.image_size, raw.boxes_per_cell, raw.strides)
    cells = graph.constant("decode/cells", grid.T[None])
    strides = graph.constant("decode/strides", stride[None, None])
    moved = graph.add("Add", [shifts, cells], "decode/moved")
    centres = graph.add("Mul", [moved, strides], "decode/centres")
    sizes = graph.add("Mul", [graph.add("Exp", [logs], "decode/exp"), strides], "decode/sizes")
    return _Decoded(centres, sizes, objectness, classes)


class _Candidates(NamedTuple):
    """The M best predictions, best first."""

    boxes: str
    """[N, M, 4] x1, y1, x2, y2 in px."""
    scores: str
    """[N, M]; -1 below the threshold."""
    classes: str
    """int64 [N, M]."""


def _scores(graph: Graph, decoded: _Decoded, score_threshold: float) -> tuple[str, str]:
    """Return the scores [N, A], and whether they reach the threshold."""
    # The sigmoid of the largest logit is the largest sigmoid. In the same way, the class below is that of the largest
    # logit, which differs from `postprocess` only if two sigmoids round to the same number.
    best = graph.add("Sigmoid", [graph.reduce("ReduceMax", decoded.classes, 1, "score/best_logit")], "score/best")
    objectness = graph.add("Sigmoid", [decoded.objectness], "score/objectness")
    product = graph.add("Mul", [objectness, best], "score/product")
    scores = graph.add("Squeeze", [product, graph.integers(1)], "score/scores")

    lowest = graph.constant("score/threshold", np.float32(score_threshold))
    return scores, graph.add("GreaterOrEqual", [scores, lowest], "candidates/good")


def _candidates(graph: Graph, decoded: _Decoded, num_classes: int, score_threshold: float) -> _Candidates:
    """The predictions above the threshold: M is their largest number in an image, at least 1."""
    scores, good = _scores(graph, decoded, score_threshold)
    numbers = graph.add(
        "ReduceSum",
        [graph.cast(good, "int64", "candidates/ones"), graph.integers(1)],
        "candidates/numbers",
        keepdims=1,
    )
    largest = graph.add("ReduceMax", [numbers], "candidates/largest", keepdims=0)
    most = graph.add("Max", [largest, graph.integers(1)], "candidates/most")
    return _ranked(graph, decoded, num_classes, scores, good, most)


def _ranked(graph: Graph, decoded: _Decoded, num_classes: int, scores: str, good: str, most: str) -> _Candidates:
    """The best predictions, those that are not good last; `most` is M, as int64 [1]."""
    masked = graph.add("Where", [good, scores, graph.constant("candidates/none", np.float32(-1))], "candidates/masked")
    # TopK orders equal scores by anchor.
    ranked, order = graph.add_many("TopK", [masked, most], "candidates/ranked", ["scores", "order"], axis=1)

    order = graph.add("Unsqueeze", [order, graph.integers(1)], "candidates/order")  # [N, 1, M]
    centres = _take(graph, decoded.centres, order, 2, "candidates/centres")
    half = graph.constant("candidates/one_half", np.float32(0.5))
    halves = graph.add("Mul", [_take(graph, decoded.sizes, order, 2, "candidates/sizes"), half], "candidates/halves")
    corners = [
        graph.add("Sub", [centres, halves], "candidates/top_left"),
        graph.add("Add", [centres, halves], "candidates/bottom_right"),
    ]
    edges = graph.add("Concat", corners, "candidates/edges", axis=1)
    boxes = graph.add("Transpose", [edges], "candidates/boxes", perm=[0, 2, 1])
    logits = _take(graph, decoded.classes, order, num_classes, "candidates/logits")
    return _Candidates(boxes, ranked, graph.add("ArgMax", [logits], "candidates/classes", axis=1, keepdims=0))


def _take(graph: Graph, values: str, order: str, channels: int, name: str) -> str:
    """Gather the columns `order` [N, 1, M] of values [N, channels, A]."""
    columns = graph.add("Expand", [order, graph.integers(1, channels, 1)], f"{name}/columns")
    return graph.add("GatherElements", [values, columns], name, axis=2)


def _suppress(graph: Graph, candidates: _Candidates, num_classes: int, suppression: Suppression) -> str:
    """Return int64 [N, M], with 1 for each candidate that is kept."""
    scores = graph.add("Unsqueeze", [candidates.scores, graph.integers(1)], "nms/scores")
    if not suppression.class_agnostic:
        # Each candidate has a score in its own class only, so boxes of different classes do not suppress each other.
        # The alternative, an offset to the boxes of each class, would round them.
        own = graph.add("Unsqueeze", [candidates.classes, graph.integers(1)], "nms/own_class")
        all_classes = graph.constant("nms/classes", np.arange(num_classes)[None, :, None])
        is_own = graph.add("Equal", [own, all_classes], "nms/is_own")
        scores = graph.add("Where", [is_own, scores, graph.constant("nms/none", np.float32(-1))], "nms/class_scores")
    selected = graph.add(
        "NonMaxSuppression",
        [
            candidates.boxes,
            scores,
            graph.constant("nms/most", np.array([suppression.max_detections])),
            graph.constant("nms/iou_threshold", np.array([suppression.iou_threshold], np.float32)),
            # NonMaxSuppression drops scores equal to its threshold, so the candidates are selected before.
            graph.constant("nms/score_threshold", np.array([-0.5], np.float32)),
        ],
        "nms/selected",
    )  # [number, 3]: image, class, candidate
    places = graph.add("Gather", [selected, graph.constant("nms/columns", np.array([0, 2]))], "nms/places", axis=1)
    number = graph.add("Gather", [graph.add("Shape", [places], "nms/shape"), graph.integers(0)], "nms/number")
    ones = graph.add("Expand", [graph.integers(1), number], "nms/ones")
    nothing = graph.add("Mul", [candidates.classes, graph.constant("nms/zero", np.int64(0))], "nms/nothing")
    return graph.add("ScatterND", [nothing, places, ones], "nms/kept")


def _in_original_px(graph: Graph, candidates: _Candidates, ratios: str) -> _Candidates:
    scale = graph.add("Unsqueeze", [ratios, graph.integers(1, 2)], "output/scale")
    return candidates._replace(boxes=graph.add("Div", [candidates.boxes, scale], "output/original"))


def _compact(graph: Graph, candidates: _Candidates, kept: str, slots: int) -> None:
    """Move the kept candidates to the front of outputs of fixed shape, best first, and pad the rest."""
    positions = graph.add("CumSum", [kept, graph.constant("output/axis", np.int64(1))], "output/positions")
    fits = graph.add("LessOrEqual", [positions, graph.constant("output/slots", np.int64(slots))], "output/fits")
    stays = graph.add("And", [graph.cast(kept, "bool", "output/is_kept"), fits], "output/stays")
    source = graph.add("Transpose", [graph.add("NonZero", [stays], "output/nonzero")], "output/source", perm=[1, 0])

    position = graph.add("GatherND", [positions, source], "output/position")
    slot = graph.add("Sub", [position, graph.constant("output/one", np.int64(1))], "output/slot")
    image = graph.add("Gather", [source, graph.constant("output/first", np.int64(0))], "output/image", axis=1)
    pairs = [graph.add("Unsqueeze", [part, graph.integers(1)], f"{part}/column") for part in (image, slot)]
    target = graph.add("Concat", pairs, "output/target", axis=1)

    batch = graph.add("Gather", [graph.add("Shape", [kept], "output/shape"), graph.integers(0)], "output/batch")
    labels = graph.cast(candidates.classes, "int32", "output/labels")
    outputs = (
        ("boxes", candidates.boxes, np.float32(0), graph.integers(slots, 4)),
        ("scores", candidates.scores, np.float32(0), graph.integers(slots)),
        ("classes", labels, np.int32(-1), graph.integers(slots)),
    )
    for name, values, filling, rest in outputs:
        shape = graph.add("Concat", [batch, rest], f"output/{name}/shape", axis=0)
        empty = graph.add("Expand", [graph.constant(f"output/{name}/filling", filling), shape], f"output/{name}/empty")
        found = graph.add("GatherND", [values, source], f"output/{name}/found")
        graph.add("ScatterND", [empty, target, found], name)
    _count(graph, stays)


def _count(graph: Graph, valid: str) -> None:
    """Add the output `count` from a mask with one row per image."""
    number = graph.add(
        "ReduceSum", [graph.cast(valid, "int64", "output/ones"), graph.integers(1)], "output/number", keepdims=0
    )
    graph.cast(number, "int32", "count")
