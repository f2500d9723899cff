"""When the loop saves, evaluates, runs callbacks and stops, with a fake step that only counts."""

import contextlib
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from yolox_jax.config import Config, EvaluationConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.pipeline import TrainingBatches
from yolox_jax.training.callbacks import Callback, StopTraining, TrainingEvent
from yolox_jax.training.checkpoints import Checkpoints, Progress
from yolox_jax.training.compilation import CompiledSteps
from yolox_jax.training.interruption import StopSignals
from yolox_jax.training.loop import Loop
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh, split_over_devices
from yolox_jax.training.step.state import TrainState, create_train_state
from yolox_jax.training.validation import Validator

STEPS_PER_EPOCH = 4


class OneWeight(nnx.Module):
    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.zeros(()))


def count_only(state: TrainState, batch: Any, scalars: Any) -> tuple[TrainState, dict[str, Any]]:
    return state._replace(step=state.step + 1), {"loss": jnp.ones(()), "skipped": jnp.zeros(())}


def make_loop(
    tmp_path,
    *,
    epochs: int = 2,
    callbacks: Sequence[Callback] = (),
    minutes: float = 0.0,
    checkpoint_steps: int = 0,
) -> Loop:
    config = Config(
        schedule=ScheduleConfig(epochs=epochs, warmup_epochs=0, no_aug_epochs=0),
        train=TrainConfig(
            batch_size=1,
            multiscale_px=None,
            log_interval=3,
            checkpoint_minutes=minutes,
            checkpoint_steps=checkpoint_steps,
        ),
        evaluation=EvaluationConfig(interval=1),
    )
    _, state = create_train_state(OneWeight(), config.train)
    batches = [{"images": np.zeros((1, 1), np.uint8), "broken": [], "dropped": 0}] * (epochs * STEPS_PER_EPOCH)
    reporter = Mock(spec=StepReporter)
    reporter.report.side_effect = lambda step, meter: {"loss": float(step)}
    checkpoints = Mock(spec=Checkpoints)
    checkpoints.save.side_effect = lambda state, progress: tmp_path / str(int(state.step))
    validator = Mock(spec=Validator)
    validator.validate.side_effect = lambda state, epoch, progress, on_progress: (
        progress._replace(best_value=epoch / 10, evaluated_step=int(state.step)),
        {"AP": epoch / 10},
    )
    return Loop(
        schedule=RunSchedule(config, STEPS_PER_EPOCH),
        compiled=Mock(spec=CompiledSteps, **{"wait.return_value": count_only}),
        batches=TrainingBatches(iter(batches), "stop", contextlib.ExitStack()),
        sharding=split_over_devices(create_mesh(config.train)),
        state=state,
        progress=Progress(),
        reporter=reporter,
        validator=validator,
        checkpoints=checkpoints,
        console=Mock(spec=TrainingConsole),
        stop=StopSignals(),
        callbacks=callbacks,
    )


def saved_steps(loop: Loop) -> list[int]:
    return [int(call.args[0].step) for call in loop.checkpoints.save.call_args_list]


def test_callbacks_see_logged_steps_checkpoints_and_evaluations_in_order(tmp_path):
    events: list[TrainingEvent] = []
    make_loop(tmp_path, epochs=1, callbacks=[events.append]).run()
    assert [(event.kind, event.step, event.epoch) for event in events] == [
        ("step", 3, 0.75),
        ("step", 4, 1.0),
        ("checkpoint", 4, 1.0),
        ("evaluation", 4, 1.0),
    ]
    assert [event.metrics for event in events] == [{"loss": 2.0}, {"loss": 3.0}, {}, {"AP": 0.1}]
    assert [event.path for event in events] == [None, None, tmp_path / "4", None]


@pytest.mark.parametrize(
    ("kind", "at_step", "last_step"),
    [("step", 3, 3), ("step", 4, 4), ("checkpoint", 2, 2), ("checkpoint", 4, 4), ("evaluation", 4, 4)],
)
def test_a_callback_stops_the_run_which_is_saved_at_its_last_step(tmp_path, kind, at_step, last_step):
    seen: list[str] = []

    def stop(event: TrainingEvent) -> None:
        if (event.kind, event.step) == (kind, at_step):
            raise StopTraining

    loop = make_loop(tmp_path, callbacks=[stop, lambda event: seen.append(event.kind)], checkpoint_steps=2)
    progress = loop.run()
    assert int(loop.state.step) == last_step == saved_steps(loop)[-1]
    assert kind in seen, "the callbacks behind the one that stops are called too"
    assert (progress.best_value is not None) == (last_step == 4), "an epoch that has ended is evaluated"
    loop.checkpoints.wait.assert_called()


def test_an_error_of_a_callback_ends_the_run_after_saving_it(tmp_path):
    def fail(event: TrainingEvent) -> None:
        raise ZeroDivisionError

    loop = make_loop(tmp_path, callbacks=[fail])
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert int(loop.state.step) == saved_steps(loop)[-1] == 3, "the first event follows step 3"


def test_a_callback_that_stops_at_the_evaluation_repeated_on_resume_takes_no_further_step(tmp_path):
    def stop(event: TrainingEvent) -> None:
        raise StopTraining

    loop = make_loop(tmp_path, callbacks=[stop])
    loop.state = loop.state._replace(step=jnp.asarray(STEPS_PER_EPOCH, jnp.int32))
    loop.run()
    assert int(loop.state.step) == STEPS_PER_EPOCH


@pytest.mark.parametrize(("minutes", "expected"), [(1e-9, [1, 2, 3, 4]), (15.0, [4]), (0.0, [4])])
def test_a_checkpoint_is_due_by_the_clock_and_at_the_end_of_an_epoch(tmp_path, minutes, expected):
    loop = make_loop(tmp_path, epochs=1, minutes=minutes)
    loop.run()
    assert saved_steps(loop) == expected
