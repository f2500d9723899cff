"""Runs on datasets from Python with own augmentation: what they record, and that they resume exactly."""

import contextlib
import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import own_data_run
import yolox_jax
from own_data_run import CLASS_NAMES, Rectangles, own_data_config, run_on_own_data
from saved_runs import differing_parts, lasting_metrics, saved_state
from yolox_jax.config import AugmentConfig, Config, ConfigError, DataConfig, DatasetConfig
from yolox_jax.data.dataset import DataError
from yolox_jax.training import preparation
from yolox_jax.training.preparation import prepare
from yolox_jax.training.run_directory import saved_steps


def test_unsuitable_functions_and_datasets_are_refused_before_anything_is_written(tmp_path):
    config = own_data_config(num_workers=2)
    dataset = yolox_jax.make_dataset(Rectangles(3), CLASS_NAMES)
    background = yolox_jax.make_dataset([(*Rectangles(1)[0][:1], [], [])], CLASS_NAMES)
    for error, message, arguments in (
        (ConfigError, "augment\\['after_mosaic'\\].*top level", {"augment": {"after_mosaic": lambda *one: one[:3]}}),
        (DataError, "the only training image has no box", {"train_set": background}),
        (DataError, "different classes", {"val_set": yolox_jax.make_dataset(Rectangles(3), ("common", "other"))}),
    ):
        with pytest.raises(error, match=message):
            yolox_jax.train(config, workdir=tmp_path / "run", **{"train_set": dataset, "val_set": dataset, **arguments})
    assert not any(tmp_path.iterdir())


def test_the_config_of_a_run_on_datasets_from_python_names_no_files(tmp_path):
    config, dataset = own_data_config(num_workers=0), yolox_jax.make_dataset(Rectangles(3), CLASS_NAMES)
    files = DatasetConfig(images="COCO/val2017", annotations="COCO/instances_val2017.json")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, train=files, val=files))
    with prepare(config, tmp_path / "run", resume=False, train_set=dataset, val_set=dataset) as run:
        assert run.config.data.train == run.config.data.val == DatasetConfig()
        assert (len(run.train_set.records), len(run.val_set.records)) == (6, 3), "two tiles of each training image"


def test_groups_that_share_images_are_checked_once_an_automatic_batch_size_is_known(tmp_path, monkeypatch):
    dataset = yolox_jax.make_dataset([(np.zeros((64, 64, 3), np.uint8), [[8, 8, 40, 40]], [0])] * 3, ("one",))
    config = Config(data=DataConfig(augment=AugmentConfig(on="device", partners="batch")))
    for name, returned in (("create_mesh", SimpleNamespace(size=2)), ("connect", None), ("smallest_batch_size", 2)):
        monkeypatch.setattr(preparation, name, lambda *_, returned=returned: returned)
    for batch_size in (16, 8):
        monkeypatch.setattr(preparation, "fitting_batch_size", lambda *_, size=batch_size: size)
        fails = batch_size == 8  # each of two devices has half of the only group
        with (
            pytest.raises(ConfigError, match="each of 2 devices has 4 rows") if fails else contextlib.nullcontext(),
            prepare(
                config, tmp_path / "run", resume=False, auto_batch_size=True, train_set=dataset, val_set=dataset
            ) as run,
        ):
            assert run.config.train.batch_size == 16


@pytest.mark.slow
def test_a_killed_run_with_every_option_of_the_data_ends_as_the_whole_one(tmp_path):
    """The killed one loads in two processes, the others in threads."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_on_own_data(whole, num_workers=0)
    process = subprocess.Popen([sys.executable, own_data_run.__file__, str(killed), "2"])
    deadline = time.monotonic() + 600
    while len(saved_steps(killed / "checkpoints")) < 1 or max(saved_steps(killed / "checkpoints")) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert max(saved_steps(killed / "checkpoints")) < 6, "it ended before it was killed"
    recorded = json.loads((killed / "data.json").read_text())
    assert recorded["augment"] == {"before_mosaic": "crop", "after_mosaic": "add_noise"}
    assert (recorded["num_images"], recorded["images_per_epoch"]) == (8, 9)
    common, rare = 6, 2 * math.sqrt(0.5 / (2 / 8))  # objects that an epoch shows
    assert recorded["class_weights"] == pytest.approx([(common + rare) / (2 * number) for number in (common, rare)])
    datasets = {name: yolox_jax.make_dataset(Rectangles(4), CLASS_NAMES) for name in ("train_set", "val_set")}
    with pytest.raises(ConfigError, match=r"started with the hooks {.*'after_mosaic': 'add_noise'}, and .* with none"):
        yolox_jax.train(own_data_config(0), workdir=killed, resume=True, **datasets)
    run_on_own_data(killed, num_workers=0, resume=True)
    states = (saved_state(own_data_config(0), len(CLASS_NAMES), Path(folder)) for folder in (whole, killed))
    assert differing_parts(*states) == set()
    assert len(lasting_metrics(whole)) == 6 + 1
    assert lasting_metrics(killed) == lasting_metrics(whole)
    assert lasting_metrics(whole)[-1]["best_by"] == "recall@0.1"
