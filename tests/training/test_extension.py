"""Extending a run: what may change, where the schedule goes on, and what is refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from yolox_jax.config import Config, ConfigError, ScheduleConfig, TrainConfig
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.hooks import NO_HOOKS
from yolox_jax.training.checkpoints import CheckpointError, Progress
from yolox_jax.training.extension import Extension, begin_extension, plan_extension, read_extensions
from yolox_jax.training.run_directory import RunDirectory, open_run_directory, record_settings
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.state import create_train_state

CONFIG = Config(schedule=ScheduleConfig(10, 1.0, 1), train=TrainConfig(batch_size=8))


def dataset(num_images: int = 80, class_names: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    record = Record(Path("1.jpg"), 1, 10, 10, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    return Dataset("pets", class_names, tuple(range(len(class_names))), (record,) * num_images, {}, ())


def changed(config: Config = CONFIG, **sections: dict[str, Any]) -> Config:
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
    )


def run_with_checkpoint(folder: Path, step: int) -> RunDirectory:
    run = RunDirectory(folder)
    record_settings(run, CONFIG, dataset())
    (run.checkpoints / str(step)).mkdir(parents=True)
    return run


def extend(run: RunDirectory, config: Config, train_set: Dataset | None = None) -> Extension | None:
    return plan_extension(run, config, train_set or dataset(), NO_HOOKS)


def test_more_epochs_go_on_at_the_same_step(tmp_path):
    run = run_with_checkpoint(tmp_path, 100)
    found = extend(run, changed(schedule={"epochs": 20}))
    assert found == Extension(100, 10.0, 0, True, {"schedule.epochs": [10, 20]})


def test_another_batch_size_keeps_the_epoch_and_the_count_of_steps(tmp_path):
    run = run_with_checkpoint(tmp_path, 100)
    config = changed(schedule={"epochs": 20}, train={"batch_size": 16})
    found = extend(run, config)
    assert found is not None and (found.step, found.epoch, found.step_offset) == (100, 10.0, 50)
    schedule, whole = RunSchedule(config, 5, step_offset=found.step_offset), RunSchedule(config, 5)
    assert schedule.epochs_after(100) == 10 and schedule.total_steps == 150
    for step in range(100, 150):
        assert schedule.learning_rate_at(step) == whole.learning_rate_at(step - 50)
        assert schedule.ends_epoch(step) == whole.ends_epoch(step - 50)
        assert schedule.evaluates_after(step) == whole.evaluates_after(step - 50)
        assert schedule.scalars_at(step).loss == whole.scalars_at(step - 50).loss
    assert schedule.in_whole_run(100) == 50


def test_the_last_evaluation_of_the_shorter_run_is_repeated_as_no_checkpoint_holds_it():
    config = changed(schedule={"epochs": 40}, evaluation={"interval": 7})
    for evaluated, expected in ((100, [70, 100, 140]), (None, [70, 140])):
        schedule = RunSchedule(config, 10, also_evaluates_after=evaluated)
        assert [step + 1 for step in range(150) if schedule.evaluates_after(step)] == expected


def test_a_run_is_extended_again_from_where_it_is_then(tmp_path):
    run = run_with_checkpoint(tmp_path, 100)
    doubled = changed(schedule={"epochs": 20}, train={"batch_size": 16})
    first = extend(run, doubled)
    record_settings(run, doubled, dataset(), extensions=[dataclasses.asdict(first)])
    assert read_extensions(run) == (first,)
    assert extend(run, doubled) is None, "the same command goes on with the extended run"
    (run.checkpoints / "125").mkdir()
    second = extend(run, changed(doubled, schedule={"epochs": 30}, train={"batch_size": 4}))
    assert second is not None and (second.epoch, second.step_offset) == (15.0, 125 - 15 * 20)


def test_a_run_extended_twice_at_one_checkpoint_still_repeats_its_last_evaluation(tmp_path):
    run, longer = run_with_checkpoint(tmp_path, 100), changed(schedule={"epochs": 40}, evaluation={"interval": 7})
    first = extend(run, longer)
    record_settings(run, longer, dataset(), extensions=[dataclasses.asdict(first)])
    second = extend(run, changed(longer, optimizer={"lr": 0.1}))
    assert first is not None and second is not None and first.evaluated and second.evaluated


def test_more_images_of_the_same_classes_are_a_change(tmp_path):
    found = extend(run_with_checkpoint(tmp_path, 50), CONFIG, dataset(num_images=160))
    assert found == Extension(50, 5.0, 50 - 100, False, {"images": [80, 160]})


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"schedule": {"epochs": 8}}, dataset(), r"has done 10 epochs: --schedule.epochs 8 leaves nothing to train"),
        ({"train": {"batch_size": 16}}, dataset(), r"--schedule.epochs 10 leaves nothing"),
        (
            {"model": {"variant": "yolox_m"}},
            dataset(),
            r"network.*--model.variant was 'yolox_s', is 'yolox_m'.*weights",
        ),
        ({"data": {"channels": 4}}, dataset(), r"cannot change the network.*--data.channels was 3, is 4"),
        ({"optimizer": {"name": "adamw"}}, dataset(), r"the optimizer.*--optimizer.name was 'sgd', is 'adamw'"),
        ({"schedule": {"epochs": 20}}, dataset(class_names=("cat", "cow")), r"classes cat, dog.*now gives cat, cow"),
    ],
)
def test_what_the_saved_state_does_not_suit_is_refused(tmp_path, settings, data, message):
    with pytest.raises(ConfigError, match=message):
        extend(run_with_checkpoint(tmp_path, 100), changed(**settings), data)


def test_a_folder_without_a_checkpoint_cannot_be_extended(tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint in .* to continue from"):
        extend(RunDirectory(tmp_path), CONFIG)


def test_resuming_with_other_settings_names_the_way_to_extend(tmp_path):
    run_with_checkpoint(tmp_path, 100)
    with pytest.raises(ConfigError, match=r"--schedule.epochs was 10, is 20(?s:.*)--resume --extend"):
        open_run_directory(tmp_path, changed(schedule={"epochs": 20}), resume=True)


def test_a_run_to_extend_may_have_other_settings_and_weights(tmp_path):
    run = run_with_checkpoint(tmp_path, 100)
    run.last_weights.parent.mkdir()
    run.last_weights.touch()
    assert open_run_directory(tmp_path, changed(schedule={"epochs": 20}), resume=True, extend=True) == run


def test_a_record_without_extensions_reads_as_before(tmp_path):
    run = run_with_checkpoint(tmp_path, 100)
    assert "extensions" not in json.loads(run.config.read_text()) and read_extensions(run) == ()


class OneWeight(nnx.Module):
    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.zeros(()))


def test_an_extension_starts_patience_and_what_its_settings_concern_anew_at_its_step_alone():
    _, state = create_train_state(OneWeight(), TrainConfig())
    config = changed(train={"precision": "float16", "loss_scale": 512.0}, optimizer={"lr": 0.1})
    changes = {"train.precision": ["float32", "float16"], "evaluation.score_threshold": [0.01, 0.1]}
    progress, extension = Progress(best_value=0.5, evaluations_since_best=3), Extension(7, 1.0, 0, True, changes)

    def begun(step: int, *extensions: Extension) -> tuple[float, float | None, int]:
        given = extensions or (extension,)
        found, after = begin_extension(given, config, state._replace(step=jnp.int32(step)), progress)
        return float(found.loss_scale.value), after.best_value, after.evaluations_since_best

    assert begun(7) == (512.0, None, 0)
    assert begun(8) == (1.0, 0.5, 3)
    other_rate = dataclasses.replace(extension, changes={"optimizer.lr": [None, 0.1]})
    assert begun(7, other_rate) == (1.0, 0.5, 0)
    assert begun(7, extension, other_rate) == (512.0, None, 0), "extended twice at one checkpoint"
    assert begun(7, dataclasses.replace(extension, step=5), other_rate) == (1.0, 0.5, 0)
    with pytest.raises(CheckpointError, match="extended after step 7, whose checkpoint cannot be read"):
        begun(6)
