"""Decoding and non-maximum suppression as ONNX nodes, in float32 for every precision of the network.

Both compute the same as `yolox_jax.postprocess` (docs/yolox.md, 3 and 9.2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from yolox_jax.anchors import STRIDES, anchor_points
from yolox_jax.export.onnx_graph import Graph, Value
from yolox_jax.export.settings import Suppression


class _Decoded(NamedTuple):
    """Parts of the output, channels first, so that maxima over classes read contiguous rows."""

    centres: str
    """[N, 2, A], px of the network input, as is the next."""
    sizes: str
    objectness: str
    """Logits [N, 1, A]."""
    classes: str
    """Logits [N, C, A]."""


def write_predictions(
    graph: Graph, levels: Sequence[str], batch: int | str, image_size: tuple[int, int], num_classes: int
) -> list[Value]:
    """Add the output `predictions`: float32 [N, A, 5 + C] as `yolox_jax.postprocess.decode` returns it.

    Args:
        graph: nodes are added to it.
        levels: the output of `write_network`.
        batch: number of images, or a name for any number.
        image_size: height and width of the network input in px.
        num_classes: C.
    """
    decoded = _decode(graph, levels, image_size, num_classes)
    logits = graph.add("Concat", [decoded.objectness, decoded.classes], "decode/logits", axis=1)
    scores = graph.add("Sigmoid", [logits], "decode/scores")
    joined = graph.add("Concat", [decoded.centres, decoded.sizes, scores], "decode/joined", axis=1)
    output = graph.add("Transpose", [joined], "predictions", perm=[0, 2, 1])
    num_anchors = len(anchor_points(image_size)[1])
    return [Value(output, "float32", (batch, num_anchors, 5 + num_classes))]


def write_detections(
    graph: Graph,
    levels: Sequence[str],
    ratios: str,
    batch: int | str,
    image_size: tuple[int, int],
    num_classes: int,
    suppression: Suppression,
) -> list[Value]:
    """Add the outputs `boxes`, `scores`, `classes` and `count`.

    Args:
        graph: nodes are added to it.
        levels: the output of `write_network`.
        ratios: float32 [N], the factor by which letterboxing scaled each image.
        batch: number of images, or a name for any number.
        image_size: height and width of the network input in px.
        num_classes: C.
        suppression: K and the thresholds.
    """
    decoded = _decode(graph, levels, image_size, num_classes)
    candidates = _candidates(graph, decoded, num_classes, suppression.score_threshold)
    kept = _suppress(graph, candidates, num_classes, suppression)
    scale = graph.add("Unsqueeze", [ratios, graph.integers(1, 2)], "output/scale")
    original = candidates._replace(boxes=graph.add("Div", [candidates.boxes, scale], "output/original"))
    _compact(graph, original, kept, suppression.max_detections)
    slots = suppression.max_detections
    return [
        Value("boxes", "float32", (batch, slots, 4)),
        Value("scores", "float32", (batch, slots)),
        Value("classes", "int32", (batch, slots)),
        Value("count", "int32", (batch,)),
    ]


def _decode(graph: Graph, levels: Sequence[str], image_size: tuple[int, int], num_classes: int) -> _Decoded:
    height, width = image_size
    rows = [
        graph.add(
            "Reshape",
            [level, graph.integers(0, 5 + num_classes, (height // stride) * (width // stride))],
            f"decode/stride{stride}",
        )
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
    raw = graph.add("Concat", rows, "decode/raw", axis=2)
    if graph.precision != "float32":
        raw = graph.cast(raw, "float32", "decode/float32")
    parts = [raw, graph.integers(2, 2, 1, num_classes)]
    names = ["centre", "size", "objectness", "classes"]
    shifts, logs, objectness, classes = graph.add_many("Split", parts, "decode/split", names, axis=1)
    grid, stride = anchor_points(image_size)
    cells = graph.constant("decode/cells", grid.T[None])
    strides = graph.constant("decode/strides", stride[None, None])
    moved = graph.add("Add", [shifts, cells], "decode/moved")
    centres = graph.add("Mul", [moved, strides], "decode/centres")
    sizes = graph.add("Mul", [graph.add("Exp", [logs], "decode/exp"), strides], "decode/sizes")
    return _Decoded(centres, sizes, objectness, classes)


class _Candidates(NamedTuple):
    """Predictions above the threshold, best first. M is the largest number in an image, at least 1."""

    boxes: str
    """[N, M, 4] x1, y1, x2, y2 in px."""
    scores: str
    """[N, M]; -1 after the candidates of an image."""
    classes: str
    """int64 [N, M]."""


def _candidates(graph: Graph, decoded: _Decoded, num_classes: int, score_threshold: float) -> _Candidates:
    # The sigmoid of the largest logit is the largest sigmoid. In the same way, the class below is that of the largest
    # logit, which differs from `postprocess` only if two sigmoids round to the same number.
    best = graph.add("Sigmoid", [graph.maximum(decoded.classes, 1, "score/best_logit")], "score/best")
    objectness = graph.add("Sigmoid", [decoded.objectness], "score/objectness")
    product = graph.add("Mul", [objectness, best], "score/product")
    scores = graph.add("Squeeze", [product, graph.integers(1)], "score/scores")

    lowest = graph.constant("score/threshold", np.float32(score_threshold))
    good = graph.add("GreaterOrEqual", [scores, lowest], "candidates/good")
    numbers = graph.add(
        "ReduceSum",
        [graph.cast(good, "int64", "candidates/ones"), graph.integers(1)],
        "candidates/numbers",
        keepdims=1,
    )
    largest = graph.add("ReduceMax", [numbers], "candidates/largest", keepdims=0)
    most = graph.add("Max", [largest, graph.integers(1)], "candidates/most")
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
    number = graph.add(
        "ReduceSum", [graph.cast(stays, "int64", "output/ones"), graph.integers(1)], "output/number", keepdims=0
    )
    graph.cast(number, "int32", "count")
