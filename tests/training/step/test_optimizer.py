"""Optimizers and the averaging decay, against NumPy twins and the original's figures."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.training.step.layout import packed
from yolox_jax.training.step.optimizer import adamw, ema_decay, sgd
from yolox_jax.training.step.scalars import AdamScalars

REFERENCE = np.load(Path(__file__).parents[2] / "reference" / "schedules.npz")


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


def adamw_twin(values, gradients, *, rate, beta1, beta2, eps, decay, is_kernel):
    """AdamW in float64, as PyTorch documents it."""
    mean = square = np.zeros_like(values)
    for number, gradient in enumerate(gradients, start=1):
        values = values - rate * decay * is_kernel * values
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        values = values - rate * (mean / (1 - beta1**number)) / (np.sqrt(square / (1 - beta2**number)) + eps)
    return values


def test_adamw_on_vectors_is_that_of_each_array_in_float64_and_decays_kernels_alone():
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (3, 3, 2, 4), "bias": (4,)}, "bn": {"scale": (4,)}}
    draw = lambda: jax.tree.map(rng.standard_normal, shapes, is_leaf=lambda x: isinstance(x, tuple))  # noqa: E731
    start, gradients = draw(), [draw() for _ in range(6)]
    numbers = {"rate": 0.02, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3, "decay": 0.3}

    @jax.jit
    def update(params, state, gradient, rate, adam, decay):
        optimizer = adamw(rate, adam, decay, jnp.inf)
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    pack = lambda tree: packed(jax.tree.map(np.float32, tree), output_first=True)  # noqa: E731
    params = pack(start)
    state = adamw(0.0, AdamScalars(0.0, 0.0, 0.0), 0.0, 0.0).init(params)
    adam = AdamScalars(numbers["beta1"], numbers["beta2"], numbers["eps"])
    for gradient in gradients:
        params, state = update(params, state, pack(gradient), numbers["rate"], adam, numbers["decay"])
    for section, name in (("conv", "kernel"), ("conv", "bias"), ("bn", "scale")):
        of_array = [gradient[section][name] for gradient in gradients]
        expected = adamw_twin(start[section][name], of_array, is_kernel=name == "kernel", **numbers)
        np.testing.assert_allclose(params.tree()[section][name], expected, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_to_the_norm_before_decay_and_momentum():
    params = {"a": jnp.asarray(0.0), "b": jnp.asarray(0.0)}
    gradient = {"a": jnp.asarray(3.0), "b": jnp.asarray(4.0)}
    for clip_norm, expected in ((math.inf, 3.0), (10.0, 3.0), (1.0, 0.6)):
        optimizer = sgd(learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        assert float(updates["a"]) == pytest.approx(-expected)
