"""Small networks with the heads of the roadmap, whose detections can be compared."""

from typing import Any

import numpy as np

from lively import lively_model
from yolox_jax.config import ModelConfig
from yolox_jax.models.yolox import YOLOX

SIZE = (64, 96)
ANCHORS = ((10.0, 13.0), (33.0, 23.0), (30.0, 61.0), (62.0, 45.0), (116.0, 90.0), (80.0, 70.0))
"""Two in each cell."""
NETWORKS: dict[str, dict[str, Any]] = {
    "decoupled_anchors": {"anchors": ANCHORS},
    "coupled_anchors": {"head": "coupled", "anchors": ANCHORS},
    "end_to_end": {"end_to_end": True},
    "finer_end_to_end": {"strides": (4, 8, 16, 32), "end_to_end": True},
    "coupled_anchors_end_to_end": {"head": "coupled", "anchors": ANCHORS, "end_to_end": True},
}
"""Settings of the network by name."""

THRESHOLD = 0.01
"""A score that many predictions reach."""


def roadmap_model(name: str, seed: int = 1) -> YOLOX:
    """A nano of `NETWORKS` with three classes, whose scores differ from place to place and from image to image."""
    return varied(lively_model(seed, ModelConfig(variant="yolox_nano", **NETWORKS[name])))


def varied(model: YOLOX) -> YOLOX:
    """Make the outputs of a nano from `lively_model` depend on the image."""
    head = model.head
    scores = [*head.cls_preds, *head.obj_preds, *(branch.pred for branch in head.one_to_one)]
    for conv, factor in [(model.backbone.backbone.stem.conv.conv, 1000), *((conv, 10) for conv in scores)]:
        conv.kernel.set_value(factor * conv.kernel[...])
    for conv in head.reg_preds:  # large boxes, which overlap
        conv.bias.set_value(conv.bias[...] + np.tile(np.float32([0, 0, 1.5, 1.5]), model.boxes_per_cell))
    return model


def pictures(number: int) -> np.ndarray:
    """Letterboxed images of `SIZE`: coloured squares of 8 px."""
    height, width = SIZE
    squares = np.random.default_rng(0).integers(0, 255, (number, height // 8, width // 8, 3), np.uint8)
    return squares.repeat(8, axis=1).repeat(8, axis=2)


def assert_same_detections(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Compare boxes, scores, classes and count. Rounding may swap detections whose scores are nearly the same."""
    np.testing.assert_array_equal(found["count"], expected["count"])
    assert (expected["count"] > 10).all()
    for image, count in enumerate(expected["count"]):
        np.testing.assert_allclose(found["scores"][image], expected["scores"][image], rtol=1e-3, atol=1e-6)
        boxes, others = found["boxes"][image, :count], expected["boxes"][image, :count]
        is_same = (np.abs(boxes[:, None] - others) < 0.02 + 1e-4 * np.abs(others)).all(axis=-1)
        is_same &= found["classes"][image, :count, None] == expected["classes"][image, :count]
        is_same &= np.isclose(found["scores"][image, :count, None], expected["scores"][image, :count], rtol=1e-3)
        assert is_same.any(axis=0).all() and is_same.any(axis=1).all()
        assert not found["boxes"][image, count:].any()
        assert (found["classes"][image, count:] == -1).all()
