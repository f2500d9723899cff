"""Plain NumPy implementations of what the package computes on fixed shapes: one object, one box at a time."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

OUTSIDE_COST = np.float32(1e6)
STRIDES = (8, 16, 32)


def anchors(image_size: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> Float[np.ndarray, "A 3"]:
    """Column, row and stride of every anchor (docs/yolox.md, 3)."""
    height, width = image_size
    rows = [(x, y, s) for s in strides for y in range(height // s) for x in range(width // s)]
    return np.array(rows, np.float32)


def iou(a_xyxy: Shaped[np.ndarray, "*B 4"], b_xyxy: Shaped[np.ndarray, "*B 4"]) -> Shaped[np.ndarray, "*B"]:
    """Intersection over union of boxes side by side; leading axes broadcast."""
    width = np.minimum(a_xyxy[..., 2], b_xyxy[..., 2]) - np.maximum(a_xyxy[..., 0], b_xyxy[..., 0])
    height = np.minimum(a_xyxy[..., 3], b_xyxy[..., 3]) - np.maximum(a_xyxy[..., 1], b_xyxy[..., 1])
    shared = np.where((width > 0) & (height > 0), width * height, 0)
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a_xyxy, b_xyxy)]
    return shared / (areas[0] + areas[1] - shared)


def corners(boxes: Shaped[np.ndarray, "*B 4"]) -> Shaped[np.ndarray, "*B 4"]:
    """x1, y1, x2, y2 from centre and size."""
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], axis=-1)


def simota(
    raw: Float[np.ndarray, "A F"],
    boxes: Float[np.ndarray, "G 4"],
    classes: Int[np.ndarray, "G"],
    valid: Bool[np.ndarray, "G"],
    image_size: tuple[int, int],
    strides: tuple[int, ...] = STRIDES,
) -> tuple[Int[np.ndarray, "A"], Float[np.ndarray, "A"]]:
    """Matched object (-1 on the background) and its IoU for the anchors of one image (docs/yolox.md, 4)."""
    points = anchors(image_size, strides)
    stride = points[:, 2:]
    middle = (points[:, :2] + np.float32(0.5)) * stride
    matched, matched_iou = np.full(len(points), -1), np.zeros(len(points), np.float32)

    objects = np.flatnonzero(valid)
    near = {g: np.all(np.abs(middle - boxes[g, :2]) < 1.5 * stride, axis=1) for g in objects}
    candidates = np.flatnonzero(np.any(list(near.values()), axis=0)) if len(objects) else np.array([], int)
    if len(candidates) == 0:
        return matched, matched_iou

    raw, points, stride = raw[candidates], points[candidates], stride[candidates]
    predicted = corners(np.concatenate([(raw[:, :2] + points[:, :2]) * stride, np.exp(raw[:, 2:4]) * stride], axis=1))
    sigmoid = 1 / (1 + np.exp(-raw[:, 4:]))
    score = np.sqrt(sigmoid[:, 1:] * sigmoid[:, :1])
    with np.errstate(divide="ignore"):
        if_set, if_not = -np.maximum(np.log(score), -100), -np.maximum(np.log(1 - score), -100)

    ious, costs, takers = {}, {}, {a: [] for a in range(len(candidates))}
    for g in objects:
        ious[g] = iou(corners(boxes[g]), predicted)
        is_own = np.arange(score.shape[1]) == classes[g]
        class_cost = np.where(is_own, if_set, if_not).sum(axis=1)
        costs[g] = class_cost + 3 * -np.log(ious[g] + np.float32(1e-8)) + OUTSIDE_COST * ~near[g][candidates]
        k = max(int(np.sort(ious[g])[::-1][:10].sum()), 1)
        for a in np.argsort(costs[g], kind="stable")[:k]:
            takers[a].append(g)
    for a, claimed_by in takers.items():
        if claimed_by:
            rivals = claimed_by if len(claimed_by) == 1 else list(objects)
            owner = min(rivals, key=lambda g: costs[g][a])
            matched[candidates[a]], matched_iou[candidates[a]] = owner, ious[owner][a]
    return matched, matched_iou


def suppress(
    decoded: Float[np.ndarray, "A F"],
    score_threshold: float,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> list[int]:
    """Indices of the predictions of one image that greedy suppression keeps, best first (docs/yolox.md, 9.2)."""
    scores, classes = decoded[:, 4] * decoded[:, 5:].max(axis=1), decoded[:, 5:].argmax(axis=1)
    boxes = corners(decoded[:, :4])
    left = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= np.float32(score_threshold)]
    kept = []
    while left and len(kept) < max_detections:
        best = left.pop(0)
        kept.append(int(best))
        left = [
            i
            for i in left
            if not (class_agnostic or classes[i] == classes[best]) or iou(boxes[best], boxes[i]) <= iou_threshold
        ]
    return kept
