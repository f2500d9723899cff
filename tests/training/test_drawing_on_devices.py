"""Samples drawn on several devices, whose shares are split further: the step is that of images drawn before."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from started import scalars_at, started
from yolox_jax.config import AugmentConfig, Config, DataConfig, TrainConfig
from yolox_jax.models import create_model
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.step.drawing import images_of
from yolox_jax.training.step.mesh import split_over_devices, to_devices

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
SIZE = (64, 64)


def test_samples_drawn_in_the_step_train_as_those_drawn_before_it() -> None:
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
    }
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    drawn_in_step, drawn_before = json.loads(run.stdout.splitlines()[-1])
    assert drawn_in_step == pytest.approx(drawn_before, rel=1e-5)


def losses() -> list[list[float]]:
    """Losses and gradient norms of two steps on two devices, with two parts each: drawn in the step, and before."""
    config = Config(
        data=DataConfig(input_size=SIZE, augment=AugmentConfig(on="device")),
        train=TrainConfig(batch_size=8, accumulation_steps=2),
    )
    sent = fake_batch(8, SIZE, objects=5, sources=1, members=5)
    # Each group of four rows, which one device has and splits into two parts, shares its images.
    sent["members"] = (np.arange(5) % 4 - np.arange(8)[:, None] % 4).astype(np.int32)
    sent["windows"] -= np.arange(8, dtype=np.int32)[:, None, None] * [0, 0, 4, 2]  # samples differ
    found = []
    for one, batch in ((config, sent), (_on_host(config), {**_targets(sent), "images": images_of(sent)})):
        assert jax.device_count() == 2
        _, state, step = started(one, create_model("yolox_nano", 80))
        sharding = split_over_devices(jax.tree.leaves(state)[0].sharding.mesh)
        figures = []
        for number in range(2):
            state, metrics = step(state, to_devices(batch, sharding), scalars_at(one, number, 0.01), size=(96, 96))
            figures += [float(metrics["loss"]), float(metrics["gradient_norm"])]
        found.append(figures)
    return found


def _targets(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in ("boxes", "classes", "valid")}


def _on_host(config: Config) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, augment=AugmentConfig(on="host")))


if __name__ == "__main__":
    print(json.dumps(losses()))
