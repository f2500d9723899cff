"""What makes a step fast: the host neither waits for it nor compiles anything, and it scatters nothing."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import pytest

from yolox_jax.config import Config, DataConfig, LossConfig, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.pipeline import TrainingBatches
from yolox_jax.models.compiler_options import DETERMINISTIC, compiler_options
from yolox_jax.training.build import Training, build_training
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.compilation import batch_like, compile_steps
from yolox_jax.training.interruption import StopSignals
from yolox_jax.training.loop import Loop
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import split_over_devices
from yolox_jax.training.validation import Validator

NUM_STEPS = 100


@pytest.fixture
def host_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the host compiled and which arrays it fetched from the device while the test ran."""
    work: list[str] = []

    def note(event: str, duration_s: float, **about: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            work.append(f"compiled {about['fun_name']}")

    array_type = type(jnp.zeros(()))

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def fetch(array: jax.Array, *arguments: object, **options: object) -> Any:
            work.append(f"fetched {array.shape}")
            return original(array, *arguments, **options)

        return fetch

    for name in ("__array__", "__float__", "__int__", "__bool__", "__index__"):  # what fetches the value of an array
        monkeypatch.setattr(array_type, name, noting(getattr(array_type, name)))
    jax.monitoring.register_event_duration_secs_listener(note)
    yield work
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="module")
def training() -> Training:
    """A run of nano about to take its first step, in an epoch of one step more than it will take here."""
    config = Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(input_size=(32, 32), max_boxes=8),
        schedule=ScheduleConfig(epochs=1, warmup_epochs=0, no_aug_epochs=0),
        train=TrainConfig(batch_size=2, multiscale_px=None, log_interval=NUM_STEPS, checkpoint_minutes=0),
    )
    return build_training(RunSchedule(config, NUM_STEPS), 3)


@pytest.mark.slow
def test_a_hundred_steps_fetch_nothing_and_compile_nothing(training, host_work):
    batch = fake_batch(2, (32, 32), objects=3, num_classes=3, slots=8)
    state = jax.tree.map(jnp.copy, training.state)
    work_before_step = []

    def batches():
        for _ in range(NUM_STEPS):
            work_before_step.append(len(host_work))
            yield batch | {"broken": [], "dropped": 0}

    with compile_steps(training) as compiled:
        loop = Loop(
            schedule=training.schedule,
            compiled=compiled,
            batches=TrainingBatches(batches(), "stop", contextlib.ExitStack()),
            sharding=split_over_devices(training.mesh),
            state=state,
            progress=Progress(),
            reporter=Mock(spec=StepReporter, **{"report.return_value": {}}),
            validator=Mock(spec=Validator, **{"validate.return_value": (Progress(), {})}),
            checkpoints=Mock(spec=Checkpoints, **{"save.return_value": None}),
            console=Mock(spec=TrainingConsole),
            stop=StopSignals(),
        )
        loop.run()
    assert len(work_before_step) == NUM_STEPS
    # The step is compiled while the first batch is waited for; after the last, the loop reports.
    assert work_before_step[1:] == [work_before_step[1]] * (NUM_STEPS - 1)
    assert len(host_work) > work_before_step[-1], "the fixture notices what the report after the last step fetches"
    assert int(loop.state.step) == NUM_STEPS


def test_a_step_scatters_nothing(training):
    """Scatters, including select-and-scatter, add in no fixed order on a GPU."""
    batch = batch_like(training.schedule.config, split_over_devices(training.mesh))
    text = training.step.lower(training.state, batch, training.schedule.scalars_at(0), size=(32, 32)).as_text()
    assert "convolution" in text and "scatter" not in text


def test_runs_that_differ_in_schedules_and_weights_alone_share_one_program(training):
    """Otherwise each run of a sweep would compile anew."""
    config = training.schedule.config
    other = dataclasses.replace(
        config,
        schedule=ScheduleConfig(epochs=7, warmup_epochs=2, no_aug_epochs=1, min_lr_ratio=0.1),
        optimizer=OptimizerConfig(lr=0.5, momentum=0.8, weight_decay=1e-3, clip_norm=10.0),
        loss=LossConfig(iou_weight=2.0, objectness_weight=3.0, classification_weight=4.0, l1_weight=5.0),
        train=dataclasses.replace(config.train, ema_decay=0.5, ema_ramp_steps=None),
    )

    program = functools.partial(_program, config)
    assert program(training, 0) == program(build_training(RunSchedule(other, 3 * NUM_STEPS), 3), step=2000)


@pytest.mark.slow
def test_runs_with_adamw_that_differ_in_its_settings_alone_share_one_program(training):
    def run(optimizer: OptimizerConfig) -> Training:
        return build_training(RunSchedule(dataclasses.replace(config, optimizer=optimizer), NUM_STEPS), 3)

    config, program = training.schedule.config, functools.partial(_program, training.schedule.config)
    one = run(OptimizerConfig(name="adamw", layer_decay=0.5))
    other = run(OptimizerConfig("adamw", lr=1.0, betas=(0.5, 0.6), eps=1.0, weight_decay=0.0, layer_decay=0.9))
    assert program(one, 0) == program(other, 5)


def _program(config: Config, training: Training, step: int) -> str:
    batch, scalars = batch_like(config, split_over_devices(training.mesh)), training.schedule.scalars_at(step)
    return str(training.step.lower(training.state, batch, scalars, size=(32, 32)).as_text())


def test_deterministic_kernels_are_asked_for_where_wanted():
    config = TrainConfig()
    assert not set(DETERMINISTIC) & set(compiler_options(config) or {})
    assert set(compiler_options(dataclasses.replace(config, deterministic=True)) or {}) >= set(DETERMINISTIC)
