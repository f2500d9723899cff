"""What a run tells of its steps, and when it saves by the clock."""

import dataclasses
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from yolox_jax.training.profiling.prepared_step import PreparedStep
from yolox_jax.training.reporting import meter as meter_module
from yolox_jax.training.reporting import step_report
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.reporting.metrics_log import MetricsLog
from yolox_jax.training.reporting.non_finite import NonFiniteGuard
from yolox_jax.training.reporting.step_report import StepReporter
from yolox_jax.training.run_schedule import RunSchedule


def step(loss: float, skipped: float = 0.0, scale: float = 1.0) -> dict[str, float]:
    return {"loss": loss, "skipped": skipped, "loss_scale": scale}


def test_rates_and_shares_leave_pauses_out_and_means_what_was_skipped(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr(meter_module.time, "perf_counter", lambda: clock[0])
    meter = Meter(batch_size=8, earlier=[step(9.0)])  # taken before the run was resumed: no part of the rate
    for what, seconds in (("data", 1.0), ("transfer", 0.5), ("pause", 100.0)):
        with meter.waiting(what):
            clock[0] += seconds
    for metrics in (step(1.0), step(np.nan, skipped=1.0), step(2.0, scale=0.5)):
        meter.add(jax.tree.map(jnp.float32, metrics))
        clock[0] += 2.5
    figures = meter.report()
    assert (figures["loss"], figures["skipped"], figures["loss_scale"]) == (4.0, 1.0, 0.5)
    assert figures["images_per_second"] == pytest.approx(3 * 8 / 9.0)
    assert (figures["data_wait"], figures["transfer_wait"]) == pytest.approx((1 / 9, 0.5 / 9))
    meter.add(jax.tree.map(jnp.float32, step(3.0)))
    clock[0] += 1.0
    assert meter.report()["images_per_second"] == pytest.approx(8.0), "each interval begins anew"


def test_the_share_of_the_peak_is_that_of_all_sizes_of_its_steps(monkeypatch: pytest.MonkeyPatch):
    config = Config(
        data=DataConfig(input_size=(64, 64)),
        train=TrainConfig(batch_size=2, multiscale_px=(32, 96), multiscale_interval=2, precision="bfloat16"),
    )
    plan = RunSchedule(config, steps_per_epoch=50)
    monkeypatch.setattr(step_report, "peak_tflops", lambda kind, precision: 1.0)
    log, meter = Mock(spec=MetricsLog), Mock(spec=Meter)
    meter.steps.return_value = [step(1.0)] * 10
    losses = dict.fromkeys(("loss", "iou", "objectness", "classification", "l1"), 1.0)
    rest = {"images_per_second": 10.0, "data_wait": 0.0, "memory_mib": 1.0, "skipped": 0.0}
    meter.report.return_value = losses | rest
    StepReporter(plan, log, Mock(spec=TrainingConsole), Mock(spec=NonFiniteGuard), gflops=4.0).report(29, meter)
    found = log.write.call_args.kwargs["metrics"]["utilization"]
    areas = [np.prod(plan.size_at(taken)) for taken in range(20, 30)]
    assert len(set(areas)) > 1
    assert found == pytest.approx(3 * 4.0 * np.mean(areas) / 64**2 * 10 / 1000 / 1.0 / 1)


def test_what_is_measured_is_frozen_as_what_is_trained():
    config = Config(model=ModelConfig(variant="yolox_nano", freeze=("backbone",)), train=TrainConfig(batch_size=2))
    frozen = PreparedStep(config, num_classes=3).training.state
    whole = PreparedStep(dataclasses.replace(config, model=ModelConfig(variant="yolox_nano")), 3).training.state
    assert len(frozen.params.layout.places) < len(whole.params.layout.places)
