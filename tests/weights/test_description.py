"""Weights tell their network, and networks of another head are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

from yolox_jax.config import ModelConfig
from yolox_jax.models import create_model
from yolox_jax.weights import (
    WeightsError,
    describe,
    export_state_dict,
    load_state_dict,
    load_weights,
    read_model,
    save_weights,
)
from yolox_jax.weights.class_order import with_class_order
from yolox_jax.weights.description import Description, describe_model
from yolox_jax.weights.files import WeightsFile
from yolox_jax.weights.names import named_variables, original_shape

ANCHORS = tuple((float(size), size + 1.0) for size in range(1, 10))


@pytest.mark.parametrize(
    ("variant", "head", "anchors", "end_to_end"),
    [
        ("yolox_nano", "decoupled", (), True),
        ("yolox_nano", "coupled", ANCHORS, False),
        ("yolox_nano", "coupled", ANCHORS, True),
        ("yolox_s", "decoupled", ANCHORS, True),
        ("yolox_s", "coupled", (), False),
        ("yolox_darknet53", "coupled", ANCHORS, False),
    ],
)
def test_shapes_tell_the_network(variant: Any, head: Any, anchors: Any, end_to_end: bool) -> None:
    config = ModelConfig(variant=variant, head=head, anchors=anchors, end_to_end=end_to_end)
    model = nnx.eval_shape(lambda: create_model(config, 7))
    shapes = {name: original_shape(variable.shape) for name, variable in named_variables(model).items()}
    found = describe({name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()})
    assert found == describe_model(model) == Description(variant, 7, head, 3 if anchors else 1, end_to_end)


def _saved(path: Path, config: ModelConfig, **metadata: str) -> dict[str, np.ndarray]:
    state_dict = export_state_dict(create_model(config, 2, seed=1))
    save_weights(path, state_dict, metadata)
    return state_dict


def test_a_network_with_anchor_boxes_is_read_with_their_sizes(tmp_path: Path) -> None:
    config = ModelConfig(variant="yolox_nano", head="coupled", anchors=ANCHORS[:3], end_to_end=True)
    saved = _saved(tmp_path / "w.safetensors", config, anchors=json.dumps(config.anchors))
    model, _ = read_model(tmp_path / "w.safetensors")
    assert model.anchor_boxes == config.anchors and model.end_to_end
    read = export_state_dict(model)
    assert read.keys() == saved.keys()
    assert all((read[name] == array).all() for name, array in saved.items())


def test_anchor_boxes_without_sizes_are_refused(tmp_path: Path) -> None:
    _saved(tmp_path / "w.safetensors", ModelConfig(variant="yolox_nano", anchors=ANCHORS))
    with pytest.raises(WeightsError, match=r"w.safetensors holds .* anchor boxes, but not their sizes"):
        read_model(tmp_path / "w.safetensors")
    _saved(tmp_path / "x.safetensors", ModelConfig(variant="yolox_nano"), anchors="[[1, -2]]")
    with pytest.raises(WeightsError, match="anchors in its metadata must be a JSON list of widths and heights"):
        read_model(tmp_path / "x.safetensors")


def test_weights_of_another_head_are_named(tmp_path: Path) -> None:
    _saved(tmp_path / "w.safetensors", ModelConfig(variant="yolox_nano"))
    model = create_model(ModelConfig(variant="yolox_nano", head="coupled", anchors=ANCHORS), 2)
    message = (
        r"weights of yolox_nano with 2 classes; the model is yolox_nano with 2 classes, a coupled head, "
        "3 anchor boxes a cell."
    )
    with pytest.raises(WeightsError, match=message):
        load_weights(model, tmp_path / "w.safetensors")


def test_anchor_boxes_do_not_count_as_classes() -> None:
    config = ModelConfig(variant="yolox_nano", anchors=ANCHORS)
    weights = export_state_dict(create_model(config, 2))
    assert load_state_dict(create_model(config, 2, seed=1), weights).num_classes is None
    report = load_state_dict(create_model(config, 3), weights, strict=False)
    assert "6 tensors of the class head reinitialised (2 → 3 classes)" in report.summary()


def test_classes_are_reordered_for_each_anchor_box() -> None:
    array = np.arange(12.0).reshape(6, 2)
    weights = WeightsFile({"head.cls_preds.0.weight": array}, {"class_names": '["a", "b"]'})
    reordered = with_class_order(weights, ["b", "a"])["head.cls_preds.0.weight"]
    assert (reordered == array[[1, 0, 3, 2, 5, 4]]).all()
