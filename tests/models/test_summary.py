"""Counted parameters and operations against the published numbers."""

from typing import Any

import pytest
from flax import nnx

from yolox_jax.config import ModelConfig
from yolox_jax.models import VARIANTS, create_model, summarize

ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))


@pytest.mark.parametrize(
    ("variant", "gflops"),
    [
        ("yolox_nano", 1.0786),
        ("yolox_tiny", 6.4504),
        ("yolox_s", 26.805),
        ("yolox_m", 73.754),
        ("yolox_l", 155.649),
        ("yolox_x", 281.929),
        ("yolox_darknet53", 185.271),
    ],
)
def test_operations_equal_the_published_number(variant: str, gflops: float):
    summary = summarize(nnx.eval_shape(lambda: create_model(variant)), VARIANTS[variant].input_size)
    assert summary.gflops == pytest.approx(gflops, rel=5e-5)
    assert summary.anchors == (3549 if VARIANTS[variant].input_size == (416, 416) else 8400)


@pytest.mark.parametrize(
    ("head", "million_parameters", "gflops", "anchors"),
    [
        ({"head": "coupled", "anchors": ANCHORS}, "63.00", "157.3", 25200),
        ({"anchors": ANCHORS}, "63.86", "186.0", 25200),
        ({}, "63.72", "185.3", 8400),
        ({"end_to_end": True}, "67.27", "205.1", 8400),
    ],
)
def test_each_step_of_the_roadmap_has_the_size_that_the_paper_gives(
    head: dict[str, Any], million_parameters: str, gflops: str, anchors: int
) -> None:
    config = ModelConfig(variant="yolox_darknet53", **head)
    summary = summarize(nnx.eval_shape(lambda: create_model(config)), (640, 640))
    assert (f"{summary.parameters / 1e6:.2f}", f"{summary.gflops:.1f}") == (million_parameters, gflops)
    assert summary.anchors == anchors


def test_parameters_are_counted_without_batch_statistics_and_the_dtype_changes_nothing():
    model = create_model("yolox_nano")
    summary = summarize(model, (64, 64))
    assert summary.parameters == 912_159
    assert summarize(model.with_dtype("bfloat16"), (64, 64)) == summary
