"""Steps that were not finite: which of them matter, what is kept of them, and when they stop a run."""

import json

import numpy as np
import pytest

from yolox_jax.config import Config, OptimizerConfig, TrainConfig
from yolox_jax.training.reporting.non_finite import MOST_CONSECUTIVE, MOST_KEPT, NonFiniteGuard, TrainingError

SOUND = {"loss": 3.0, "skipped": 0.0, "loss_scale": 1.0}
BAD = {"loss": float("nan"), "skipped": 1.0, "loss_scale": 1.0}
OVERFLOW = {"loss": 3.0, "skipped": 1.0, "loss_scale": 1024.0}


def load(step):
    return {"images": np.full((1, 2, 2, 3), step, np.uint8)}, [f"image_{step}.jpg"]


def guard(policy, folder, precision="float32"):
    return NonFiniteGuard(Config(train=TrainConfig(non_finite=policy, precision=precision)), folder, load)


def test_the_run_stops_at_the_step_and_keeps_its_batch_and_image_names(tmp_path):
    with pytest.raises(TrainingError, match="not finite at step 12;.*image_11.jpg"):
        guard("stop", tmp_path / "kept").check(10, [SOUND, BAD, SOUND])
    about = json.loads((tmp_path / "kept" / "step_00000012.json").read_text())
    assert about["step"] == 12 and about["images"] == ["image_11.jpg"] and about["metrics"]["loss"] == "nan"
    assert np.load(tmp_path / "kept" / "step_00000012.npz")["images"].max() == 11


def test_the_advice_names_the_learning_rate_of_the_whole_batch(tmp_path):
    for optimizer in (OptimizerConfig(lr=0.02), OptimizerConfig(lr_per_image=0.02 / 64)):
        stopping = NonFiniteGuard(Config(optimizer=optimizer), tmp_path, load)
        with pytest.raises(TrainingError, match=r"a lower --optimizer.lr \(now 0.02\)"):
            stopping.check(0, [BAD])


def test_skipping_names_the_step_and_goes_on(tmp_path, caplog):
    guard("skip", tmp_path).check(0, [BAD, SOUND])
    assert "step 1 was skipped: the loss or its gradient is not finite" in caplog.text


def test_an_overflow_of_float16_is_no_fault_until_the_scale_cannot_fall(tmp_path):
    checked = guard("stop", tmp_path, "float16")
    checked.check(0, [OVERFLOW, SOUND])
    with pytest.raises(TrainingError, match="another --train.precision may too"):
        checked.check(2, [{**OVERFLOW, "loss_scale": 1.0}])


def test_too_many_consecutive_ones_stop_the_run_and_the_folder_does_not_fill_up(tmp_path):
    checked = guard("skip", tmp_path)
    checked.check(0, [BAD] * (MOST_CONSECUTIVE - 1))
    checked.check(MOST_CONSECUTIVE, [SOUND, BAD])
    with pytest.raises(TrainingError, match=f"{MOST_CONSECUTIVE} consecutive steps"):
        checked.check(100, [BAD] * (MOST_CONSECUTIVE - 1))
    assert len(list(tmp_path.glob("*.npz"))) == MOST_KEPT
