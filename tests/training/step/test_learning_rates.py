"""Learning rate schedules against the original's figures and formulas, and the rates of the stages of a network."""

import math
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from yolox_jax.config import Config, ConfigError, ModelConfig, ScheduleConfig
from yolox_jax.config.checks import check_config
from yolox_jax.models import create_model
from yolox_jax.training.freezing import freeze, part_of
from yolox_jax.training.step.layout import packed
from yolox_jax.training.step.learning_rates import learning_rate, scaled_by_stage, stage_of, stage_rates
from yolox_jax.weights.names import original_name

REFERENCE = np.load(Path(__file__).parents[2] / "reference" / "schedules.npz")
STEPS_PER_EPOCH = 7


@pytest.mark.parametrize("case", ["coco", "short", "nowarm"])
def test_the_default_schedule_follows_the_original(case):
    steps_per_epoch, epochs, warmup, no_aug = REFERENCE[f"{case}/args"].tolist()
    schedule = ScheduleConfig(epochs=epochs, warmup_epochs=warmup, no_aug_epochs=no_aug)
    rates = [learning_rate(step, 0.01, schedule, steps_per_epoch) for step in REFERENCE[f"{case}/iters"].tolist()]
    np.testing.assert_allclose(rates, REFERENCE[f"{case}/lr"], rtol=1e-6)


def rates_of(**settings) -> np.ndarray:
    schedule = ScheduleConfig(epochs=10, **settings)
    return np.array([learning_rate(step, 0.3, schedule, STEPS_PER_EPOCH) for step in range(10 * STEPS_PER_EPOCH + 1)])


def test_warmcos_rises_linearly_and_falls_along_a_cosine_to_zero_at_the_end():
    rates, steps, warmup, total = rates_of(name="warmcos", warmup_epochs=2.0), np.arange(71), 14, 70
    np.testing.assert_allclose(rates[:15], 0.3 * steps[:15] / warmup)
    np.testing.assert_allclose(
        rates[14:], 0.15 * (1 + np.cos(np.pi * (steps[14:] - warmup) / (total - warmup))), atol=1e-12
    )


def test_cos_falls_along_a_cosine_from_the_first_step():
    expected = 0.15 * (1 + np.cos(np.pi * np.arange(71) / 70))
    np.testing.assert_allclose(rates_of(name="cos"), expected, atol=1e-12)


def test_multistep_falls_by_a_factor_at_each_milestone():
    rates = rates_of(name="multistep", milestones=(4.0, 8.5), gamma=0.2)
    expected = np.full(71, 0.3)
    expected[28:] *= 0.2
    expected[math.ceil(59.5) :] *= 0.2
    np.testing.assert_allclose(rates, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "multistep"}, r"such as 180 270; got none"),
        ({"name": "multistep", "milestones": (200.0, 100.0)}, r"in ascending order, .* got 200 100"),
        ({"name": "multistep", "milestones": (100.0, 300.0)}, r"below --schedule.epochs 300"),
        ({"name": "cos", "milestones": (100.0,)}, r"--schedule.milestones has no use with --schedule.name cos"),
    ],
)
def test_milestones_that_do_not_fit_the_schedule_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_config(Config(schedule=ScheduleConfig(**settings)))


def rate_by_name(name: str, decay: float) -> float:
    """The rate of a weight by its name in the original."""
    if part_of(name) != "backbone":
        return 1.0 if part_of(name) == "head" else decay
    stage = name.split(".")[2]
    return decay ** (6 - ["stem", "dark2", "dark3", "dark4", "dark5"].index(stage))


@pytest.mark.parametrize(
    ("variant", "frozen"), [("yolox_nano", ()), ("yolox_nano", ("backbone.backbone.dark3",)), ("yolox_darknet53", ())]
)
def test_each_weight_of_a_network_moves_at_the_rate_of_its_stage(variant, frozen):
    model = create_model(ModelConfig(variant=variant, strides=(4, 8, 16, 32, 64), end_to_end=True), 3)
    model.train()
    if frozen:
        freeze(model, frozen)
    params = nnx.state(model, nnx.Param)
    if variant == "yolox_darknet53":  # the names are what counts there; its weights would fill memory
        assert {stage_of(list(map(str, path))) for path, _ in nnx.to_flat_state(params)} == set(range(7))
        return
    ones = packed(jax.tree.map(np.ones_like, jax.device_get(params)), output_first=True)
    scaled = jax.device_get(jax.jit(scaled_by_stage)(ones, stage_rates(0.5))).tree()
    for path, variable in nnx.to_flat_state(scaled):
        np.testing.assert_array_equal(variable[...], rate_by_name(original_name(path), 0.5), err_msg=str(path))
