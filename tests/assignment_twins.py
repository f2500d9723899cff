"""Plain NumPy implementations of the assignment rules: one image, one object, one anchor at a time."""

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from numpy_twins import corners, iou

STRIDES = (8, 16, 32)

Matches = tuple[Int[np.ndarray, "A"], Float[np.ndarray, "A"]]
"""Slot of the object of each anchor, -1 on the background, and its IoU, 0 there."""


def predictions(image_size: tuple[int, int], per_cell: int) -> list[tuple[int, int, int, int]]:
    """Column, row, level and number within its cell of every prediction."""
    height, width = image_size
    return [
        (column, row, level, number)
        for level, stride in enumerate(STRIDES)
        for row in range(height // stride)
        for column in range(width // stride)
        for number in range(per_cell)
    ]


def decode(raw: Float[np.ndarray, "A F"], image_size: tuple[int, int], per_cell: int) -> Float[np.ndarray, "A 4"]:
    """Centre and size in px of the predicted boxes."""
    points = np.array(predictions(image_size, per_cell), np.float32)
    stride = np.array(STRIDES, np.float32)[points[:, 2].astype(int), None]
    return np.concatenate([(raw[:, :2] + points[:, :2]) * stride, np.exp(raw[:, 2:4]) * stride], axis=1)


def overlap(box: Float[np.ndarray, "4"], predicted: Float[np.ndarray, "A 4"]) -> Float[np.ndarray, "A"]:
    return iou(corners(box), corners(predicted))


def share(claims: dict[int, list[int]], ious: dict[int, Float[np.ndarray, "A"]], num_anchors: int) -> Matches:
    """Gives each anchor to the one of its claimants with the smallest -log IoU, the lowest slot among equals."""
    matched, matched_iou = np.full(num_anchors, -1), np.zeros(num_anchors, np.float32)
    for anchor, claimants in claims.items():
        owner = max(sorted(claimants), key=lambda g: ious[g][anchor])
        matched[anchor], matched_iou[anchor] = owner, ious[owner][anchor]
    return matched, matched_iou


def yolov3(
    raw: Float[np.ndarray, "A F"],
    boxes: Float[np.ndarray, "G 4"],
    valid: Bool[np.ndarray, "G"],
    image_size: tuple[int, int],
    anchors: tuple[tuple[float, float], ...],
) -> tuple[Matches, Bool[np.ndarray, "A"]]:
    """Matches, and which predictions are ignored."""
    per_level = len(anchors) // 3
    places = {place: index for index, place in enumerate(predictions(image_size, per_level))}
    predicted = decode(raw, image_size, per_level)
    claims: dict[int, list[int]] = {}
    ious = {}
    overlaps_any = np.zeros(len(raw), bool)
    for g in np.flatnonzero(valid):
        x, y, width, height = boxes[g]
        ious[g] = overlap(boxes[g], predicted)
        overlaps_any |= ious[g] > np.float32(0.7)
        similarity = []
        for anchor_width, anchor_height in np.array(anchors, np.float32):
            shared = min(width, anchor_width) * min(height, anchor_height)
            similarity.append(shared / (width * height + anchor_width * anchor_height - shared))
        level, number = divmod(int(np.argmax(similarity)), per_level)
        cell = math.floor(x / STRIDES[level]), math.floor(y / STRIDES[level])
        if (*cell, level, number) in places:
            claims.setdefault(places[(*cell, level, number)], []).append(g)
    matched, matched_iou = share(claims, ious, len(raw))
    return (matched, matched_iou), overlaps_any & (matched < 0)


def about_centre(
    raw: Float[np.ndarray, "A F"],
    boxes: Float[np.ndarray, "G 4"],
    valid: Bool[np.ndarray, "G"],
    image_size: tuple[int, int],
    reach: int,
) -> Matches:
    """The cell of the centre on the level of the object's size, and those up to `reach` cells away."""
    places = {place: index for index, place in enumerate(predictions(image_size, 1))}
    predicted = decode(raw, image_size, 1)
    claims: dict[int, list[int]] = {}
    ious = {}
    for g in np.flatnonzero(valid):
        ious[g] = overlap(boxes[g], predicted)
        side = max(boxes[g, 2:])
        level = 0 if side <= 64 else 1 if side <= 128 else 2
        column, row = math.floor(boxes[g, 0] / STRIDES[level]), math.floor(boxes[g, 1] / STRIDES[level])
        if (column, row, level, 0) not in places:
            continue
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                place = (column + dx, row + dy, level, 0)
                if place in places:
                    claims.setdefault(places[place], []).append(g)
    return share(claims, ious, len(raw))


def scores(raw: Float[np.ndarray, "A F"]) -> Float[np.ndarray, "A C"]:
    sigmoid = 1 / (1 + np.exp(-raw[:, 4:]))
    return np.sqrt(sigmoid[:, 1:] * sigmoid[:, :1])


def ota(
    raw: Float[np.ndarray, "A F"],
    boxes: Float[np.ndarray, "G 4"],
    classes: Int[np.ndarray, "G"],
    valid: Bool[np.ndarray, "G"],
    image_size: tuple[int, int],
) -> tuple[Float[np.ndarray, "N A"], list[int], dict[int, Float[np.ndarray, "A"]]]:
    """The plan with rows scaled to a largest entry of 1, the slots of its rows but the last, and the IoUs of these.

    It computes in float64, with the costs of 1e6 in the matrix and potentials that start at 1.
    """
    raw, boxes = raw.astype(np.float64), boxes.astype(np.float64)
    predicted, score = decode(raw, image_size, 1), scores(raw)
    if_set = -0.25 * (1 - score) ** 2 * np.log(score)
    if_not = -0.75 * score**2 * np.log(1 - score)
    middle, stride = [], []
    for column, row, level, _ in predictions(image_size, 1):
        middle.append(((column + 0.5) * STRIDES[level], (row + 0.5) * STRIDES[level]))
        stride.append(STRIDES[level])

    rows, supplies, ious = [], [], {}
    slots = np.flatnonzero(valid).tolist()
    for g in slots:
        left, top, right, bottom = corners(boxes[g])
        ious[g] = overlap(boxes[g], predicted)
        candidate = np.array(
            [
                left < x < right
                and top < y < bottom
                and abs(x - boxes[g, 0]) < 2.5 * side
                and abs(y - boxes[g, 1]) < 2.5 * side
                for (x, y), side in zip(middle, stride, strict=True)
            ]
        )
        class_cost = np.where(np.arange(score.shape[1]) == classes[g], if_set, if_not).sum(axis=1)
        rows.append(class_cost + 1.5 * -np.log(ious[g] + 1e-8) + 1e6 * ~candidate)
        supplies.append(max(math.floor(np.sort(ious[g][candidate])[::-1][:20].sum()), 1))
    rows.append(if_not.sum(axis=1))
    supplies.append(max(len(raw) - sum(supplies), 1e-8))
    return sinkhorn(np.array(rows), np.array(supplies)), slots, ious


def sinkhorn(cost: Float[np.ndarray, "R A"], supply: Float[np.ndarray, "R"]) -> Float[np.ndarray, "R A"]:
    """50 iterations at entropy 0.1; each anchor demands 1."""
    by_row, by_anchor = np.ones(len(cost)), np.ones(cost.shape[1])
    for _ in range(50):
        by_anchor += 0.1 * -log_sum_exp((by_row[:, None] + by_anchor - cost) / 0.1, axis=0)
        by_row += 0.1 * (np.log(supply) - log_sum_exp((by_row[:, None] + by_anchor - cost) / 0.1, axis=1))
    log_plan = (by_row[:, None] + by_anchor - cost) / 0.1
    return np.exp(log_plan - log_plan.max(axis=1, keepdims=True))


def log_sum_exp(x: Float[np.ndarray, "R A"], axis: int) -> Float[np.ndarray, "_"]:
    largest = x.max(axis=axis, keepdims=True)
    return np.log(np.exp(x - largest).sum(axis=axis)) + largest.squeeze(axis)


def one_to_one(
    raw: Float[np.ndarray, "A F"],
    classes: Int[np.ndarray, "G"],
    matched: Int[np.ndarray, "A"],
    matched_iou: Float[np.ndarray, "A"],
) -> dict[int, int]:
    """The anchor selected by each object: the best pair of all first, then the best of the others, and so on."""
    probability = 1 / (1 + np.exp(-raw[:, 4:].astype(np.float64)))
    pairs = []
    for anchor in np.flatnonzero(matched >= 0).tolist():
        g = int(matched[anchor])
        p = probability[anchor, 0] * probability[anchor, 1 + classes[g]] * probability[anchor, -1]
        pairs.append((-(p**0.2) * float(matched_iou[anchor]) ** 0.8, anchor, g))
    selected: dict[int, int] = {}
    for _, anchor, g in sorted(pairs):
        if g not in selected and anchor not in selected.values():
            selected[g] = anchor
    return selected
