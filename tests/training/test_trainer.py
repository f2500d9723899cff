"""Whole runs, small: what they leave behind, that they resume exactly, and that they learn."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from yolox_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    DatasetConfig,
    EvaluationConfig,
    ModelConfig,
    ScheduleConfig,
    TrainConfig,
)
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.training.reporting import read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.trainer import train
from yolox_jax.weights import read_weights


@pytest.fixture(scope="session")
def small_config(tmp_path_factory) -> Config:
    """Four steps an epoch, three epochs, 64 px."""
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder, num_train=16, num_val=6, image_size=96, seed=0)
    images = str(folder)
    return Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(
            train=DatasetConfig(format="shapes", images=images, split="train"),
            val=DatasetConfig(format="shapes", images=images, split="val"),
            input_size=(64, 64),
            max_boxes=40,
        ),
        schedule=ScheduleConfig(epochs=3, warmup_epochs=1, no_aug_epochs=1),
        # A short ramp: at the usual one, the average forgets everything in a step as early as this.
        train=TrainConfig(batch_size=4, ema_ramp_steps=10.0, multiscale_px=None, log_interval=2),
        evaluation=EvaluationConfig(interval=2, batch_size=6, num_pictures=3),
    )


@pytest.fixture(scope="session")
def finished(small_config, tmp_path_factory) -> RunDirectory:
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    train(small_config, workdir=workdir)
    return RunDirectory(workdir)


def test_a_run_leaves_weights_metrics_and_pictures(finished):
    for path in (finished.log, finished.best_weights, finished.last_weights, finished.predictions(3)):
        assert path.stat().st_size > 0, path
    assert finished.curves.read_bytes().startswith(b"\x89PNG")
    metadata = read_weights(finished.root).metadata
    assert metadata["variant"] == "yolox_nano" and json.loads(metadata["input_size"]) == [64, 64]


def test_tensorboard_reads_the_losses_the_figures_and_the_pictures(finished):
    events = EventAccumulator(str(finished.tensorboard)).Reload()
    assert [scalar.step for scalar in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    assert [scalar.step for scalar in events.Scalars("evaluation/AP")] == [8, 12]
    assert [image.step for image in events.Images("predictions")] == [8, 12]


def test_metrics_tell_steps_and_evaluations_apart(finished):
    records = read_metrics(finished.metrics)
    assert [r["step"] for r in records if r["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [r["step"] for r in records if r["kind"] == "evaluation"] == [8, 12]
    l1 = {r["step"]: r["l1"] for r in records if r["kind"] == "train"}
    assert all((l1[step] > 0) == (step > 8) for step in l1), "L1 is on in the last epoch alone"
    assert {"lr", "images_per_second", "data_wait", "memory_mib"} <= records[0].keys()


def test_a_resumed_run_ends_bit_for_bit_where_the_whole_one_did(small_config, finished, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    from yolox_jax.training import trainer

    report = trainer._report

    def die_in_the_last_epoch(plan, log, console, step, meter):
        if step == 9:
            raise Killed
        report(plan, log, console, step, meter)

    monkeypatch.setattr(trainer, "_report", die_in_the_last_epoch)
    with pytest.raises(Killed):
        train(small_config, workdir=tmp_path)
    monkeypatch.setattr(trainer, "_report", report)
    train(small_config, workdir=tmp_path, resume=True)

    whole = read_weights(finished.last_weights).state_dict
    resumed = read_weights(RunDirectory(tmp_path).last_weights).state_dict
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[key], resumed[key]) for key in whole)
    volatile = {"images_per_second", "data_wait", "memory_mib"}
    lines = [
        [{key: value for key, value in record.items() if key not in volatile} for record in read_metrics(path)]
        for path in (finished.metrics, tmp_path / "metrics.jsonl")
    ]
    assert lines[0] == lines[1]


def test_a_folder_with_another_run_is_refused_before_work(small_config, finished):
    with pytest.raises(ConfigError, match="already holds a run"):
        train(small_config, workdir=finished.root)
    other = dataclasses.replace(small_config, seed=5)
    with pytest.raises(ConfigError, match="--seed was 0, is 5"):
        train(other, workdir=finished.root, resume=True)


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    code = (
        "from yolox_jax.training.mesh import create_mesh\n"
        "from yolox_jax.config import ConfigError\n"
        "try: create_mesh(7)\n"
        "except ConfigError as error: print(error)\n"
    )
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "PATH": ""}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "--train.batch-size 7" in run.stdout and "use 4 or 8" in run.stdout
