"""A run's folder refuses what would mix two runs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    DatasetConfig,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    ScheduleConfig,
)
from yolox_jax.config.files import load_config
from yolox_jax.config.serialization import config_to_dict
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.training.reporting.metrics_log import MetricsLog, draw_curves, figures_in, read_metrics
from yolox_jax.training.run_directory import (
    RunDirectory,
    check_same_data,
    open_run_directory,
    record_settings,
    saved_steps,
)


def dataset(num_images=3, class_names=("cat", "dog")):
    record = Record(Path("1.jpg"), 1, 10, 10, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    return Dataset("pets", class_names, tuple(range(len(class_names))), (record,) * num_images, {}, ())


def start_run(folder, config):
    run = open_run_directory(folder, config, resume=False)
    record_settings(run, config, dataset())
    return run


def test_a_folder_that_holds_a_run_is_left_alone_without_resume(tmp_path):
    start_run(tmp_path, Config())
    with pytest.raises(ConfigError, match="--resume"):
        open_run_directory(tmp_path, Config(seed=1), resume=False)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_resuming_with_other_settings_names_them(tmp_path):
    start_run(tmp_path, Config())
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    changed = Config(schedule=ScheduleConfig(warmup_epochs=7.0), seed=3)
    with pytest.raises(ConfigError, match=r"(?s)--schedule.warmup-epochs was 5.0, is 7.0.*--seed was 0, is 3"):
        open_run_directory(tmp_path, changed, resume=True)


def test_resuming_with_another_figure_for_the_best_weights_is_refused_since_values_of_two_do_not_compare(tmp_path):
    start_run(tmp_path, Config())
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    changed = Config(evaluation=EvaluationConfig(best_by="F1"))
    with pytest.raises(ConfigError, match="--evaluation.best-by was 'AP', is 'F1'"):
        open_run_directory(tmp_path, changed, resume=True)


def test_resuming_is_refused_if_other_annotations_give_the_classes_other_weights(tmp_path):
    def pets(*classes: int) -> Dataset:
        boxes, classes = np.zeros((len(classes), 4), np.float32), np.array(classes, np.int32)
        record = dataclasses.replace(dataset().records[0], boxes=boxes, classes=classes)
        return dataclasses.replace(dataset(), records=(record,))

    config = Config(loss=LossConfig(class_weights=("balanced",)))
    run = open_run_directory(tmp_path, config, resume=False)
    record_settings(run, config, pets(0, 0, 0, 1))
    (run.checkpoints / "100").mkdir(parents=True)
    check_same_data(run, config, pets(1, 0, 0, 0))
    with pytest.raises(ConfigError, match=r"cat \(weight 0.6667\), dog \(weight 2\); .* cat \(weight 1\), dog"):
        check_same_data(run, config, pets(0, 0, 1, 1))


def test_an_older_run_that_froze_the_backbone_resumes_with_the_neck_frozen_as_it_was(tmp_path):
    def frozen(*parts: str) -> Config:
        return Config(model=ModelConfig(freeze=parts))

    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps(config_to_dict(frozen("backbone"))))  # without a version
    assert load_config(tmp_path) == frozen("backbone", "neck")
    open_run_directory(tmp_path, load_config(tmp_path), resume=True)
    with pytest.raises(ConfigError, match=r"--model.freeze was \['backbone', 'neck'\], is \['backbone'\]"):
        open_run_directory(tmp_path, frozen("backbone"), resume=True)


def test_a_run_of_this_version_that_froze_the_backbone_resumes_with_it_alone(tmp_path):
    config = Config(model=ModelConfig(freeze=("backbone",)))
    start_run(tmp_path, config)
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    assert load_config(tmp_path) == config
    open_run_directory(tmp_path, config, resume=True)


def test_a_run_that_never_reached_a_checkpoint_may_start_over_with_other_settings(tmp_path):
    start_run(tmp_path, Config())
    assert open_run_directory(tmp_path, Config(seed=3), resume=True).root == tmp_path


def test_a_run_whose_checkpoints_were_removed_is_not_started_over(tmp_path):
    run = start_run(tmp_path, Config())
    run.last_weights.parent.mkdir()
    run.last_weights.write_bytes(b"weights")
    with pytest.raises(ConfigError, match=f"weights but no checkpoints.*--model.weights {tmp_path}"):
        open_run_directory(tmp_path, Config(), resume=True)


def test_resuming_with_more_workers_is_allowed_and_recorded(tmp_path):
    start_run(tmp_path, Config())
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    more = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, num_workers=2))
    run = open_run_directory(tmp_path, more, resume=True)
    record_settings(run, more, dataset())
    assert json.loads(run.config.read_text())["data"]["num_workers"] == 2


def test_a_cache_may_move_between_memory_and_disk_but_not_come_or_go(tmp_path):
    def cached(kind: str) -> Config:
        return Config(data=DataConfig(cache=kind))

    start_run(tmp_path, cached("ram"))
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    open_run_directory(tmp_path, cached("disk"), resume=True)
    with pytest.raises(ConfigError, match="--data.cache was 'ram', is 'none'"):
        open_run_directory(tmp_path, cached("none"), resume=True)


def test_further_data_sets_may_move_but_not_change(tmp_path):
    def joined(**changes) -> Config:
        more = dataclasses.replace(DatasetConfig(format="voc", images="a", split="train"), **changes)
        return Config(data=DataConfig(more_train=(more,)))

    start_run(tmp_path, joined())
    (tmp_path / "checkpoints" / "100").mkdir(parents=True)
    open_run_directory(tmp_path, joined(images="b"), resume=True)
    with pytest.raises(ConfigError, match=r"data\.more-train\[0\]\.split was 'train', is 'val'"):
        open_run_directory(tmp_path, joined(split="val"), resume=True)
    with pytest.raises(ConfigError, match=r"data\.more-train\[0\]\.format was 'voc', is None"):
        open_run_directory(tmp_path, Config(), resume=True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            dataset(num_images=4),
            r"3 training images with the classes cat, dog; --data.train now gives 4 training images with the classes",
        ),
        (dataset(class_names=("cat", "bird")), "now gives 3 training images with the classes cat, bird"),
    ],
)
def test_resuming_on_other_data_is_refused_once_there_is_something_to_resume(tmp_path, other, message):
    run = start_run(tmp_path, Config())
    check_same_data(run, Config(), other)
    (run.checkpoints / "100").mkdir(parents=True)
    check_same_data(run, Config(), dataset())
    with pytest.raises(ConfigError, match=message):
        check_same_data(run, Config(), other)


def test_a_folder_that_cannot_be_made_is_an_error_before_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--workdir"):
        open_run_directory(tmp_path / "file" / "run", Config(), resume=False)


def test_what_is_no_whole_checkpoint_is_not_taken_for_one(tmp_path):
    for name in ("5", "12", "7.orbax-checkpoint-tmp", "9.unreadable"):
        (tmp_path / name).mkdir()
    (tmp_path / "12.sizes.json").touch()
    assert saved_steps(tmp_path) == [5, 12]


def test_a_full_disk_costs_lines_but_not_the_run(tmp_path, caplog, monkeypatch):
    open_path = Path.open
    full = Path("/dev/full")
    monkeypatch.setattr(
        Path, "open", lambda path, *_, **__: open_path(full if path.name == "metrics.jsonl" else path, "w")
    )
    with MetricsLog(RunDirectory(tmp_path), resume_step=0, evaluated_step=0) as log:
        log.write("train", step=10, epoch=1.0, metrics={"loss": 1.0})
    assert "the metrics of step 10 could not be written to /dev/full: [Errno 28]" in caplog.text


def test_lines_after_the_resumed_step_are_replaced_and_half_a_line_is_ignored(tmp_path):
    run = RunDirectory(tmp_path)
    with MetricsLog(run, resume_step=0, evaluated_step=0) as log:
        for step in (10, 20, 30):
            log.write("train", step=step, epoch=step / 10, metrics={"loss": 1.0})
    with run.metrics.open("a") as file:
        file.write('{"kind": "train", "st')
    with MetricsLog(run, resume_step=20, evaluated_step=0) as log:
        log.write("train", step=30, epoch=3.0, metrics={"loss": 2.0})
    assert [(record["step"], record["loss"]) for record in read_metrics(run.metrics)] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
    ]


def test_curves_are_drawn_from_few_records_and_from_none(tmp_path):
    train = {"loss": 3.0, "iou": 1.0, "objectness": 1.0, "classification": 1.0, "l1": 0.0, "lr": 0.01}
    records = [
        {"kind": "train", "step": 10, "epoch": 1.0, **train},
        {"kind": "evaluation", "step": 10, "epoch": 1, "AP": 0.1, "AP50": 0.2, "AP75": None},
    ]
    assert figures_in(records) == figures_in([]) == ["AP", "AP50", "AP75"]
    assert figures_in([{"best_by": "F1", "F1": 0.5}]) == ["AP", "AP50", "AP75", "F1"]
    for number, some in enumerate((records, [])):
        draw_curves(some, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
