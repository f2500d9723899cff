"""Whole runs, small: what they leave behind, that they resume exactly, and that they learn."""

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from saved_runs import VOLATILE, differing_parts, lasting_metrics, saved_state
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
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.evaluation.runner import evaluate_detector
from yolox_jax.models.summary import Summary
from yolox_jax.report.data import read_document, read_report_data
from yolox_jax.training import validation
from yolox_jax.training.callbacks import StopTraining, TrainingEvent
from yolox_jax.training.interruption import Interrupted
from yolox_jax.training.profiling import memory
from yolox_jax.training.reporting.announcement import announce
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.reporting.non_finite import TrainingError
from yolox_jax.training.run_directory import RunDirectory, saved_steps
from yolox_jax.training.trainer import train
from yolox_jax.training.validation import save_for_use
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
    best = max(record["AP"] for record in read_metrics(finished.metrics) if record["kind"] == "evaluation")
    assert read_report_data(finished.root).document["AP"] == best
    metadata = read_weights(finished.root).metadata
    assert metadata["variant"] == "yolox_nano" and json.loads(metadata["input_size"]) == [64, 64]


def test_a_start_that_is_refused_leaves_nothing_behind(small_config, tmp_path):
    model = dataclasses.replace(small_config.model, freeze=("bakbone",))
    with pytest.raises(ConfigError, match="--model.freeze bakbone"):
        train(dataclasses.replace(small_config, model=model), workdir=tmp_path / "runs" / "a")
    assert not any(tmp_path.iterdir())


def test_what_is_odd_about_the_data_is_logged_before_the_training(small_config, caplog):
    data = dataclasses.replace(small_config.data, val=small_config.data.train)
    train_set = open_datasets(data, "train")
    announce(dataclasses.replace(small_config, data=data), Summary(1, 1.0, 1), train_set, train_set)
    assert "train and val: leakage: same image files in train and val: 16 (for example " in caplog.text


def test_tensorboard_reads_the_losses_the_figures_and_the_pictures(finished):
    events = EventAccumulator(str(finished.tensorboard)).Reload()
    assert [scalar.step for scalar in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    assert [scalar.step for scalar in events.Scalars("evaluation/AP")] == [8, 12]
    assert [image.step for image in events.Images("predictions")] == [8, 12]


def test_metrics_tell_steps_and_evaluations_apart(finished):
    records = read_metrics(finished.metrics)
    assert [r["step"] for r in records if r["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [r["step"] for r in records if r["kind"] == "evaluation"] == [8, 12]
    assert all(r["loss"] > 0 and r["l1"] > 0 for r in records if r["kind"] == "evaluation"), "of validation images"
    l1 = {r["step"]: r["l1"] for r in records if r["kind"] == "train"}
    assert all((l1[step] > 0) == (step > 8) for step in l1), "L1 is on in the last epoch alone"
    assert {"lr", "images_per_second", "data_wait", "transfer_wait", "memory_mib"} <= records[0].keys()


@pytest.mark.slow
def test_a_run_stopped_by_a_signal_ends_bit_for_bit_where_the_whole_one_did(
    small_config, finished, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        add, taken = Meter.add, []

        def add_and_interrupt(self, metrics):
            add(self, metrics)
            taken.append(metrics)
            if len(taken) == 7:  # between two lines of metrics
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Meter, "add", add_and_interrupt)
        with pytest.raises(Interrupted, match="stopped by SIGTERM after step 7 of 12") as stopped:
            train(small_config, workdir=tmp_path)
        assert stopped.value.exit_code == 143
    assert RunDirectory(tmp_path).log.read_text().endswith("saved: --resume continues from there\n")
    result = train(small_config, workdir=tmp_path, resume=True)

    assert result.progress.evaluated_step == 12
    states = [saved_state(small_config, 4, workdir) for workdir in (finished.root, tmp_path)]
    assert differing_parts(*states) == set()
    assert lasting_metrics(tmp_path) == lasting_metrics(finished.root)
    whole = read_weights(finished.last_weights).state_dict
    resumed = read_weights(RunDirectory(tmp_path).last_weights).state_dict
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_a_run_whose_images_vanish_is_saved_and_goes_on_when_they_are_back(
    small_config, finished, tmp_path, monkeypatch
):
    folder = tmp_path / "shapes"
    shutil.copytree(small_config.data.train.images, folder)
    config = dataclasses.replace(
        small_config,
        data=dataclasses.replace(
            small_config.data,
            num_threads=1,
            train=dataclasses.replace(small_config.data.train, images=str(folder)),
            val=dataclasses.replace(small_config.data.val, images=str(folder)),
        ),
    )
    with monkeypatch.context() as patch:
        add = Meter.add

        def add_and_hide(self, metrics):
            add(self, metrics)
            if (folder / "images").exists():
                (folder / "images").rename(folder / "elsewhere")

        patch.setattr(Meter, "add", add_and_hide)
        with pytest.raises(DataError, match="16 of 16 training images were tried.*still exists"):
            train(config, workdir=tmp_path / "run")
    assert re.search(r"saved after step [1-6]: --resume", RunDirectory(tmp_path / "run").log.read_text())
    (folder / "elsewhere").rename(folder / "images")
    train(config, workdir=tmp_path / "run", resume=True)
    assert differing_parts(saved_state(config, 4, finished.root), saved_state(config, 4, tmp_path / "run")) == set()


@pytest.mark.slow
def test_a_run_that_a_callback_stopped_ends_bit_for_bit_where_the_whole_one_did(small_config, finished, tmp_path):
    events = []

    def stop(event: TrainingEvent) -> None:
        events.append((event.kind, event.step))
        if event.step >= 6:
            raise StopTraining

    result = train(small_config, workdir=tmp_path, callbacks=[stop])
    assert result.best_ap is None and saved_steps(RunDirectory(tmp_path).checkpoints)[-1] == 6
    assert ("step", 2) in events and ("checkpoint", 4) in events
    assert "a callback stopped the run after step 6" in RunDirectory(tmp_path).log.read_text()

    result = train(small_config, workdir=tmp_path, resume=True)
    assert differing_parts(saved_state(small_config, 4, finished.root), saved_state(small_config, 4, tmp_path)) == set()
    assert (
        lasting_metrics(tmp_path)
        == lasting_metrics(finished.root)
        == [{name: value for name, value in record.items() if name not in VOLATILE} for record in result.metrics()]
    )


@pytest.mark.slow
def test_a_run_trains_from_a_cache(small_config, tmp_path):
    data = dataclasses.replace(small_config.data, cache="ram", num_workers=1)
    result = train(dataclasses.replace(small_config, data=data), workdir=tmp_path)
    assert result.progress.evaluated_step == 12
    assert "decoding 16 images into the cache" in RunDirectory(tmp_path).log.read_text()


@pytest.mark.slow
def test_an_evaluation_that_a_signal_stopped_is_made_up_for(small_config, finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        show = TrainingConsole.show

        def show_and_interrupt(self, text):
            show(self, text)
            if text.startswith("evaluating"):
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(TrainingConsole, "show", show_and_interrupt)
        with pytest.raises(Interrupted, match="after step 8 of 12"):
            train(small_config, workdir=tmp_path)
        assert not RunDirectory(tmp_path).last_weights.exists()
    train(small_config, workdir=tmp_path, resume=True)
    assert lasting_metrics(tmp_path) == lasting_metrics(finished.root)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(small_config, finished, tmp_path):
    copy = shutil.copytree(finished.root, tmp_path / "copy")
    train(small_config, workdir=copy, resume=True)
    assert lasting_metrics(copy) == lasting_metrics(finished.root)
    assert differing_parts(*(saved_state(small_config, 4, workdir) for workdir in (finished.root, copy))) == set()


@pytest.mark.slow
def test_a_broken_newest_checkpoint_is_reported_and_the_one_before_is_used(small_config, finished, tmp_path):
    copy = shutil.copytree(finished.root, tmp_path / "copy")
    newest = copy / "checkpoints" / "12"
    largest = max(newest.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    train(small_config, workdir=copy, resume=True)
    log = (copy / "log.txt").read_text()
    assert f"{newest} cannot be read" in log and "resumed after step 8" in log
    assert lasting_metrics(copy) == lasting_metrics(finished.root)
    assert differing_parts(*(saved_state(small_config, 4, workdir) for workdir in (finished.root, copy))) == set()


@pytest.mark.slow
def test_a_run_whose_loss_is_not_finite_stops_or_goes_on_without_such_steps(small_config, tmp_path):
    wild = dataclasses.replace(small_config, optimizer=dataclasses.replace(small_config.optimizer, lr_per_image=1e30))
    with pytest.raises(TrainingError, match="not finite at step 3; no weight was changed by it"):
        train(wild, workdir=tmp_path)  # the rate of step 1 is 0, and step 2 spoils the weights
    kept = np.load(tmp_path / "non_finite" / "step_00000003.npz")
    assert kept["images"].shape == (4, 64, 64, 3)
    assert len(json.loads((tmp_path / "non_finite" / "step_00000003.json").read_text())["images"]) >= 4

    skipping = dataclasses.replace(wild, train=dataclasses.replace(wild.train, non_finite="skip"))
    result = train(skipping, workdir=tmp_path, resume=True)
    assert result.progress.evaluated_step == 12 and result.best_ap == 0
    records = [record for record in lasting_metrics(tmp_path) if record["kind"] == "train"]
    assert [record["skipped"] for record in records] == [0, 2, 2, 2, 2, 2] and records[-1]["loss"] is None
    state = saved_state(skipping, 4, tmp_path)
    assert int(state.skipped_steps) == 10 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.slow
def test_the_best_weights_are_those_that_were_written_and_their_checkpoint_is_kept(small_config, tmp_path, monkeypatch):
    aps = iter([0.9, 0.5, 0.4])

    def worse_each_time(*arguments, **settings):
        found = evaluate_detector(*arguments, **settings)
        figures = found.metrics.figures | {"AP": next(aps)}
        return dataclasses.replace(found, metrics=dataclasses.replace(found.metrics, figures=figures))

    def on_a_full_disk_at_first(path, model, class_names, size):
        if not RunDirectory(tmp_path).metrics.read_text().count('"evaluation"') > 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_for_use(path, model, class_names, size)

    monkeypatch.setattr(validation, "evaluate_detector", worse_each_time)

    def never(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(validation, "save_for_use", on_a_full_disk_at_first)
    monkeypatch.setattr(validation, "draw_curves", never)  # which is no reason to forget the weights
    config = dataclasses.replace(
        small_config,
        train=dataclasses.replace(small_config.train, keep_checkpoints=1),
        evaluation=dataclasses.replace(small_config.evaluation, interval=1),
    )
    result = train(config, workdir=tmp_path)
    assert (result.best_ap, result.best_epoch, result.progress.best_step) == (0.5, 2, 8)
    run = RunDirectory(tmp_path)
    assert "of epoch 1 could not be written" in run.log.read_text()
    assert saved_steps(run.checkpoints) == [8, 12]
    assert read_document(run.best_metrics)["AP"] == 0.5


@pytest.mark.slow
def test_a_step_that_does_not_fit_ends_the_run_before_it_and_an_evaluation_says_what_helps(
    small_config, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="the step needs .* GiB on each device"):
        patch.setattr(memory, "limit_bytes", lambda: 1)
        train(small_config, workdir=tmp_path / "small")
    assert not (tmp_path / "small").exists(), "a start that fails leaves nothing behind"

    def exhausted(*_: object, **__: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5 bytes.")

    monkeypatch.setattr(validation, "evaluate_detector", exhausted)
    with pytest.raises(ConfigError, match="while evaluating.*--evaluation.batch-size"):
        train(small_config, workdir=tmp_path / "large")
    assert saved_steps(RunDirectory(tmp_path / "large").checkpoints)[-1] == 8


@pytest.mark.slow
def test_a_run_without_progress_stops_early(small_config, tmp_path):
    schedule = dataclasses.replace(small_config.schedule, epochs=6, no_aug_epochs=4)
    evaluation = dataclasses.replace(small_config.evaluation, interval=1, patience=2, score_threshold=1.0)
    config = dataclasses.replace(small_config, schedule=schedule, evaluation=evaluation)
    result = train(config, workdir=tmp_path)
    assert (result.best_epoch, result.progress.evaluations_since_best, result.progress.evaluated_step) == (1, 2, 12)
    assert "early stopping" in (tmp_path / "log.txt").read_text()


def test_a_folder_with_another_run_is_refused_before_work(small_config, finished):
    with pytest.raises(ConfigError, match="already contains a run"):
        train(small_config, workdir=finished.root)
    other = dataclasses.replace(small_config, seed=5)
    with pytest.raises(ConfigError, match="--seed was 0, is 5"):
        train(other, workdir=finished.root, resume=True)


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    code = (
        "from yolox_jax.training.step.mesh import create_mesh\n"
        "from yolox_jax.config import ConfigError, TrainConfig\n"
        "try: create_mesh(TrainConfig(batch_size=7))\n"
        "except ConfigError as error: print(error)\n"
    )
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "PATH": ""}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "--train.batch-size 7" in run.stdout and "Use a batch size of 4 or 8" in run.stdout
