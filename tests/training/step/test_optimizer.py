"""The learning-rate schedule, the optimizer and the averaging decay, against the original's figures."""

import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.config import ScheduleConfig
from yolox_jax.training.step.optimizer import ema_decay, sgd, warmup_cosine

REFERENCE = np.load(Path(__file__).parents[2] / "reference" / "schedules.npz")


@pytest.mark.parametrize("case", ["coco", "short", "nowarm"])
def test_learning_rate_follows_the_original(case):
    steps_per_epoch, epochs, warmup, no_aug = REFERENCE[f"{case}/args"].tolist()
    schedule = ScheduleConfig(epochs=epochs, warmup_epochs=warmup, no_aug_epochs=no_aug)
    rates = [warmup_cosine(step, 0.01, schedule, steps_per_epoch) for step in REFERENCE[f"{case}/iters"].tolist()]
    np.testing.assert_allclose(rates, REFERENCE[f"{case}/lr"], rtol=1e-6)


def test_averaging_decay_follows_the_original():
    decays = [ema_decay(updates, 0.9998, 2000) for updates in REFERENCE["ema/updates"].tolist()]
    np.testing.assert_allclose(decays, REFERENCE["ema/decay"], rtol=1e-6)


def test_sgd_is_pytorchs_nesterov_and_decays_kernels_alone():
    params = {"conv": {"kernel": jnp.asarray(2.0), "bias": jnp.asarray(2.0)}, "bn": {"scale": jnp.asarray(2.0)}}
    gradient = {"conv": {"kernel": jnp.asarray(1.0), "bias": jnp.asarray(1.0)}, "bn": {"scale": jnp.asarray(1.0)}}
    optimizer = sgd(learning_rate=0.5, momentum=0.9, weight_decay=0.1, clip_norm=math.inf)
    state, values, buffers = optimizer.init(params), {}, {"kernel": 0.0, "bias": 0.0, "scale": 0.0}
    for _ in range(3):
        updates, state = optimizer.update(gradient, state, params)
        for name, section in (("kernel", "conv"), ("bias", "conv"), ("scale", "bn")):
            # PyTorch: b = m b + g, step along g + m b; the decay is part of g.
            decayed = 1.0 + (0.1 * float(params[section][name]) if name == "kernel" else 0.0)
            buffers[name] = 0.9 * buffers[name] + decayed
            values[name] = float(params[section][name]) - 0.5 * (decayed + 0.9 * buffers[name])
            params[section][name] = params[section][name] + updates[section][name]
            assert float(params[section][name]) == pytest.approx(values[name], rel=1e-5)


def test_gradients_are_clipped_to_the_norm_before_decay_and_momentum():
    params = {"a": jnp.asarray(0.0), "b": jnp.asarray(0.0)}
    gradient = {"a": jnp.asarray(3.0), "b": jnp.asarray(4.0)}
    for clip_norm, expected in ((math.inf, 3.0), (10.0, 3.0), (1.0, 0.6)):
        optimizer = sgd(learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        assert float(updates["a"]) == pytest.approx(-expected)
