"""What makes a step fast: the host neither waits for it nor compiles anything, and it scatters nothing."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from jax._src.array import ArrayImpl

from yolox_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from yolox_jax.data.pipeline import TrainingBatches
from yolox_jax.models.compiler_options import DETERMINISTIC, compiler_options
from yolox_jax.models.yolox import create_model
from yolox_jax.training.checkpoints import Progress
from yolox_jax.training.compilation import CompiledSteps, batch_like
from yolox_jax.training.interruption import StopSignals
from yolox_jax.training.loop import Loop
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.run_schedule import Plan
from yolox_jax.training.step.mesh import create_mesh, replicated, split_over_devices
from yolox_jax.training.step.optimizer import sgd
from yolox_jax.training.step.state import create_train_state
from yolox_jax.training.step.step import make_train_step

NUM_STEPS = 100


class Batches(TrainingBatches):
    """The same batch again and again."""

    def __init__(self, batch):
        self.batch = batch

    def __next__(self):
        return self.batch


@pytest.fixture
def host_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the host compiled and which arrays it fetched from the device while the test ran."""
    work: list[str] = []

    def note(event: str, duration_s: float, **about: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            work.append(f"compiled {about['fun_name']}")

    fetch = ArrayImpl._value.fget  # what float(), NumPy and jax.device_get go through

    def noted_fetch(array: jax.Array) -> np.ndarray:
        work.append(f"fetched {array.shape}")
        return fetch(array)

    monkeypatch.setattr(ArrayImpl, "_value", property(noted_fetch))
    jax.monitoring.register_event_duration_secs_listener(note)
    yield work
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="module")
def started():
    """A run of nano about to take its first step."""
    config = Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(input_size=(32, 32), max_boxes=8),
        train=TrainConfig(batch_size=2, multiscale_px=None),
    )
    model = create_model("yolox_nano", 3)
    model.train()
    optimizer = sgd(config.optimizer, lambda step: 1e-4)
    mesh = create_mesh(config.train)
    graphdef, state = create_train_state(model, optimizer, config.train)
    return config, mesh, make_train_step(graphdef, optimizer, config, mesh), jax.device_put(state, replicated(mesh))


@pytest.mark.slow
def test_a_hundred_steps_fetch_nothing_and_compile_nothing(started, host_work):
    config, mesh, step, state = started
    sharding = split_over_devices(mesh)
    plan = Plan(config, steps_per_epoch=1000)
    loop = object.__new__(Loop)  # what a step needs of it, alone
    loop.plan, loop.sharding, loop.stop = plan, sharding, StopSignals()
    batch = fake_batch(2, (32, 32), objects=3, num_classes=3, slots=8)
    meter = Meter(2, [])
    with CompiledSteps(step, state, batch_like(config, sharding), [(32, 32)]) as compiled:
        assert compiled.wait((32, 32), timeout_s=300) is not None
        host_work.clear()
        for number in range(NUM_STEPS):
            state = loop._step(compiled, Batches(batch), state, Progress(), meter, number)
        assert host_work == []
    assert int(state.step) == NUM_STEPS
    assert host_work, "the fixture notices what the line above fetches"
    assert len(meter.steps()) == NUM_STEPS


def test_a_step_scatters_nothing(started):
    """Scatters, select-and-scatter among them, have no fixed order on a GPU."""
    config, mesh, step, state = started
    text = (
        step.trace(state, batch_like(config, split_over_devices(mesh)), np.float32(0), size=(32, 32)).lower().as_text()
    )
    assert "convolution" in text and "scatter" not in text


def test_deterministic_kernels_are_asked_for_where_wanted():
    config = TrainConfig()
    assert not set(DETERMINISTIC) & set(compiler_options(config) or {})
    assert set(compiler_options(dataclasses.replace(config, deterministic=True)) or {}) >= set(DETERMINISTIC)
