"""Steps in half precision, steps that are not finite, and networks of which a part is frozen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from saved_runs import differing_parts
from started import scalars_at, started
from yolox_jax.config import Config, DataConfig, DatasetConfig, OptimizerConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.pipeline import training_batches
from yolox_jax.losses import detection_loss
from yolox_jax.models.yolox import create_model
from yolox_jax.structures import Targets
from yolox_jax.training.freezing import freeze
from yolox_jax.training.step.loss_scale import adjusted, initial_loss_scale
from yolox_jax.training.step.state import repacked, unpacked
from yolox_jax.training.validation import averaged_model
from yolox_jax.weights import export_state_dict, load_weights

SIDE_PX = 64


def start(precision: str = "float32", frozen: tuple[str, ...] = (), optimizer: OptimizerConfig = OptimizerConfig()):
    """The state, the step and the structure of a small run."""
    config = Config(train=TrainConfig(batch_size=2, precision=precision), optimizer=optimizer)
    model = create_model("yolox_nano", 3, dtype=jnp.dtype(precision))
    model.train()
    freeze(model, frozen)
    graphdef, state, step = started(config, model)
    scalars = scalars_at(config, 0, learning_rate=0.01, l1_weight=1.0)
    return state, lambda state, batch: step(state, batch, scalars, size=(SIDE_PX, SIDE_PX)), graphdef


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (2, SIDE_PX, SIDE_PX, 3)).astype(np.uint8),
        "boxes": rng.uniform(12, 52, (2, 8, 4)).astype(np.float32),
        "classes": rng.integers(0, 3, (2, 8)).astype(np.int32),
        "valid": np.arange(8) < np.array([3, 5])[:, None],
    }


@pytest.fixture(scope="module")
def float16():
    return start("float16")


def with_scale(state, value: float):
    """A copy, since the step takes its state over, with another loss scale."""
    state = jax.tree.map(jnp.copy, state)
    return state._replace(loss_scale=state.loss_scale._replace(value=jnp.float32(value)))


@pytest.mark.slow
def test_a_step_in_float16_gives_losses_and_gradients_that_are_not_scaled(batch, float16):
    state, step, _ = float16
    found = [step(with_scale(state, scale), batch)[1] for scale in (1.0, 32.0)]
    assert [float(metrics["loss_scale"]) for metrics in found] == [1, 32]
    for name in ("loss", "gradient_norm"):
        assert float(found[1][name]) == pytest.approx(float(found[0][name]), rel=1e-2), name
    assert not any(float(metrics["skipped"]) for metrics in found)


@pytest.mark.slow
def test_an_overflow_changes_nothing_but_the_scale_and_the_counts(batch, float16):
    state, step, _ = float16
    state = with_scale(state, 2.0**40)
    before = jax.device_get(state)
    after, metrics = step(state, batch)
    assert float(metrics["skipped"]) == 1 and np.isfinite(float(metrics["loss"]))
    assert differing_parts(before, jax.device_get(after)) == {"step", "skipped_steps", "loss_scale"}
    assert (int(after.step), int(after.skipped_steps)) == (1, 1)
    assert float(after.loss_scale.value) == 2.0**39


@pytest.mark.slow
def test_losses_of_real_images_in_half_precision_are_those_of_float32(shared):
    folder, size = shared / "data" / "coco_val2017_100", (320, 320)
    images = DatasetConfig(images=str(folder / "images"), annotations=str(folder / "instances.json"))
    config = Config(data=DataConfig(train=images, input_size=size), train=TrainConfig(batch_size=8))
    with training_batches(open_dataset(images, "train"), config) as batches:
        batch = next(batches)
    targets = Targets(*(jnp.asarray(batch[name]) for name in ("boxes", "classes", "valid")))

    def losses(precision: str) -> dict[str, float]:
        # Weights that are trained: on fresh ones the assignment hangs on a hair.
        model = create_model("yolox_nano", 80, dtype=jnp.dtype(precision))
        load_weights(model, shared / "weights" / "yolox_nano.pth")
        model.train()
        raw = nnx.jit(lambda model, images: model(images))(model, jnp.asarray(batch["images"], jnp.float32))
        total, parts = detection_loss(raw, targets, image_size=size, l1_weight=1.0)
        return {"loss": float(total)} | {name: float(value) for name, value in parts.items()}

    expected = losses("float32")
    # Rounding lets a few of some 700 anchors change hands, which moves the parts more than their sum.
    for precision, rounding in (("float16", 1e-2), ("bfloat16", 3e-2)):
        found = losses(precision)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-2), precision
        assert found == pytest.approx(expected, rel=rounding), precision


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_that_is_not_finite_changes_no_weight_nor_average(batch, optimizer):
    state, step, _ = start(optimizer=OptimizerConfig(name=optimizer))
    trees = unpacked(state)
    bias = trees.params["head"]["obj_preds"][0]["bias"]
    bias.set_value(np.full_like(bias[...], np.nan))
    state = jax.tree.map(jnp.array, repacked(trees, state))
    before = jax.device_get(state)
    after, metrics = step(state, batch)
    assert np.isnan(float(metrics["loss"])) and float(metrics["skipped"]) == 1
    after = jax.device_get(after)
    unchanged = ("params", "batch_stats", "ema_params", "ema_batch_stats", "opt_state", "loss_scale")
    for name in unchanged:
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(after, name))


@pytest.mark.slow
def test_frozen_parts_stay_as_they_are_and_the_rest_learns(batch):
    state, step, graphdef = start(frozen=("backbone", "neck", "head.cls_preds.0.bias"))
    before = export_state_dict(averaged_model(graphdef, state))
    for _ in range(2):
        state, _ = step(state, batch)
    after = export_state_dict(averaged_model(graphdef, state._replace(ema_params=state.params)))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name for name in changed if not name.startswith("head.")} == set()
    assert "head.cls_preds.0.bias" not in changed
    # Parameters that have a gradient even on levels without objects.
    always = {name for name in before if "reg_convs" in name or "obj_preds" in name}
    assert always <= changed


def test_the_loss_scale_halves_doubles_and_stays_above_one():
    config = dataclasses.replace(TrainConfig(), precision="float16", loss_scale=4.0, loss_scale_growth_steps=2)
    scale, values = initial_loss_scale(config), []
    for finite in (False, False, False, True, True, True, False, True, True):
        scale = adjusted(scale, jnp.asarray(finite), config)
        values.append(float(scale.value))
    assert values == [2, 1, 1, 1, 2, 2, 1, 1, 2]
    assert float(initial_loss_scale(TrainConfig()).value) == 1
