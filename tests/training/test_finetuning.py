"""Fine-tuning: the weights that a run starts from, its average, and the warning about runs that are too short."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import Config, DataConfig, DatasetConfig, ModelConfig, ScheduleConfig, TrainConfig
from yolox_jax.config.files import load_config
from yolox_jax.config.names import initial_weights_name
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.models import create_model
from yolox_jax.models.summary import Summary
from yolox_jax.training.preparation import initial_weights
from yolox_jax.training.reporting.announcement import announce
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.weights import export_state_dict
from yolox_jax.weights.files import save_weights
from yolox_jax.weights.rescale import FILTER_NORM

STEM = "backbone.backbone.stem.conv.conv.weight"


def test_filters_are_rescaled_only_if_the_config_says_so(tmp_path: Path) -> None:
    weights = export_state_dict(create_model("yolox_nano", 2))
    save_weights(tmp_path / "w.safetensors", weights, {})
    model = ModelConfig(variant="yolox_nano", weights=str(tmp_path / "w.safetensors"))
    as_stored = initial_weights(Config(model=model), ["cat", "dog"])
    rescaled = initial_weights(Config(model=dataclasses.replace(model, rescale_filters=True)), ["cat", "dog"])
    assert as_stored is not None and rescaled is not None
    np.testing.assert_array_equal(as_stored[STEM], weights[STEM])
    norms = np.linalg.norm(rescaled[STEM].reshape(len(rescaled[STEM]), -1), axis=1)
    np.testing.assert_allclose(norms, FILTER_NORM, rtol=1e-5)


@pytest.mark.parametrize(
    ("stored", "expected"), [(["dog", "cat"], [1, 0]), (["cat", "dog"], [0, 1]), (["cat", "bird"], [0, 1])]
)
def test_class_predictions_follow_their_names_if_the_order_differs(
    stored: list[str], expected: list[int], tmp_path: Path
) -> None:
    weights = export_state_dict(create_model("yolox_nano", 2))
    save_weights(tmp_path / "w.safetensors", weights, {"num_classes": "2", "class_names": json.dumps(stored)})
    model = ModelConfig(variant="yolox_nano", weights=str(tmp_path / "w.safetensors"))
    loaded = initial_weights(Config(model=model), ["cat", "dog"])
    assert loaded is not None
    for key in ("head.cls_preds.0.weight", "head.cls_preds.2.bias"):
        np.testing.assert_array_equal(loaded[key], weights[key][expected])
    np.testing.assert_array_equal(loaded["head.reg_preds.0.weight"], weights["head.reg_preds.0.weight"])


def test_published_means_the_weights_of_the_variant() -> None:
    config = load_config("finetune")
    assert initial_weights_name(config.model) == "yolox_nano"
    assert initial_weights_name(dataclasses.replace(config.model, variant="yolox_s")) == "yolox_s"
    assert initial_weights_name(dataclasses.replace(config.model, weights="mine.pth")) == "mine.pth"


@pytest.mark.parametrize("epochs", [60, 600])
def test_average_spans_a_tenth_of_a_short_run(epochs: int) -> None:
    train = TrainConfig(ema_decay=0.99999, ema_ramp_steps=None)
    schedule = RunSchedule(Config(schedule=ScheduleConfig(epochs=epochs), train=train), steps_per_epoch=1)
    assert 1 / (1 - float(schedule.scalars_at(epochs - 1).ema_decay)) == pytest.approx(epochs / 10, rel=0.02)


def test_ramp_of_a_long_run_is_that_of_the_original_and_a_given_one_stays() -> None:
    decays = [
        RunSchedule(Config(train=TrainConfig(ema_ramp_steps=ramp)), steps_per_epoch=1848).scalars_at(999).ema_decay
        for ramp in (None, 2000.0, 10.0)
    ]
    assert decays[0] == decays[1] < decays[2]


@pytest.mark.parametrize(
    ("model", "epochs", "warned"),
    [
        (ModelConfig(weights="published"), 5, True),
        (ModelConfig(weights="published"), 500, False),
        (ModelConfig(weights="published", rescale_filters=True), 5, False),
        (ModelConfig(weights="published", freeze=("backbone",)), 5, False),
        (ModelConfig(), 5, False),
    ],
)
def test_a_run_too_short_to_fine_tune_all_layers_is_warned_of(
    model: ModelConfig, epochs: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generate_shapes(tmp_path, num_train=4, num_val=2, image_size=64, seed=0)
    shapes = DatasetConfig(format="shapes", images=str(tmp_path))
    config = Config(
        model=model,
        data=DataConfig(train=shapes, val=shapes),
        schedule=ScheduleConfig(epochs=epochs),
        train=TrainConfig(batch_size=4),
    )
    announce(config, Summary(1, 1.0, 1), open_datasets(config.data, "train"), open_datasets(config.data, "val"))
    assert ("fine-tuning all layers in only 5 steps" in caplog.text) == warned
