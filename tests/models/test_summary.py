"""Counted parameters and operations against the published numbers."""

import pytest
from flax import nnx

from yolox_jax.models import VARIANTS, create_model, summarize


@pytest.mark.parametrize(
    ("variant", "gflops"),
    [
        ("yolox_nano", 1.0786),
        ("yolox_tiny", 6.4504),
        ("yolox_s", 26.805),
        ("yolox_m", 73.754),
        ("yolox_l", 155.649),
        ("yolox_x", 281.929),
        ("yolox_darknet53", 185.074),
    ],
)
def test_operations_equal_the_published_number(variant: str, gflops: float):
    summary = summarize(nnx.eval_shape(lambda: create_model(variant)), VARIANTS[variant].input_size)
    assert summary.gflops == pytest.approx(gflops, rel=5e-5)
    assert summary.anchors == (3549 if VARIANTS[variant].input_size == (416, 416) else 8400)


def test_parameters_are_counted_without_batch_statistics_and_the_dtype_changes_nothing():
    model = create_model("yolox_nano")
    summary = summarize(model, (64, 64))
    assert summary.parameters == 912_159
    assert summarize(model.with_dtype("bfloat16"), (64, 64)) == summary
