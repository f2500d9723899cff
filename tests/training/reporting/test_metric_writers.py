"""TensorBoard, Weights & Biases and MLflow keep what they are given, without network, and go on after a resume."""

import importlib.util
import json
import math
import re
import shutil
import sys
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
import wandb
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from yolox_jax.config import Config, ConfigError, TrainConfig
from yolox_jax.config.serialization import config_to_dict
from yolox_jax.training.reporting.metric_writers import MetricWriter, check_metric_writers, open_metric_writers
from yolox_jax.training.reporting.metrics_log import MetricsLog, draw_curves, read_metrics
from yolox_jax.training.run_directory import RunDirectory, flatten

NAMES = ("tensorboard", "wandb", "mlflow")
SETTINGS = config_to_dict(Config(train=TrainConfig(loggers=NAMES)))
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)

# MLflow 3.17 uses a way of loading that SQLAlchemy 2.1 advises against.
mlflow_warns = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture(autouse=True)
def nothing_leaves_the_folder(monkeypatch, tmp_path):
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb" / name))
    settings = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    for name, value in {**settings, "WANDB_DISABLE_GIT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    yield
    wandb.teardown()  # so that the next one reads the environment anew


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A database as MLflow makes it, which takes it seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow.MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture
def run(tmp_path, request) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "first")
    run.root.mkdir(parents=True)
    if "mlflow" in request.node.name:
        run.mlflow.mkdir()
        shutil.copy(request.getfixturevalue("empty_database"), run.mlflow / "mlflow.db")
    return run


def log_to(run: RunDirectory, name: str, steps: list[int], *, resume_step: int = 0, failed: bool = False) -> None:
    """Logs the loss 1 / step and a picture after the last step."""
    (writer,) = open_metric_writers([name], run, SETTINGS, resume_step)
    for step in steps:
        writer.write_scalars(step, {"train/loss": 1 / step, "train/lr": 0.5, "evaluation/recall@0.9": 0.25})
    writer.write_image(steps[-1], "predictions", PICTURE)
    writer.close(failed=failed)


def wandb_records(run: RunDirectory) -> list[list[Record]]:
    """What wandb wrote, for each time that it was opened: protobufs in the log format of LevelDB, by its description.

    A header of 7 bytes, then blocks of 32 KiB with parts of records; each part has checksum, length and kind, which is
    1 for a whole record, 2 for a first, 3 for a middle and 4 for a last part.
    """
    wandb.teardown()  # waits for its process to have written everything
    opened = []
    for path in sorted(run.root.glob("wandb/offline-run-*/run-*.wandb")):
        data, place, parts, records = path.read_bytes(), 7, b"", []
        while place + 7 <= len(data):
            if 32768 - place % 32768 < 7:
                place += 32768 - place % 32768
                continue
            length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
            parts += data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):
                records.append(Record.FromString(parts))
                parts = b""
        opened.append(records)
    return opened


def wandb_rows(records: list[Record]) -> list[dict]:
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]


def mlflow_client(run: RunDirectory) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{run.mlflow / 'mlflow.db'}")


def mlflow_runs(run: RunDirectory) -> list:
    client = mlflow_client(run)
    return client.search_runs([client.get_experiment_by_name("yolox-jax").experiment_id])


def points(history: list) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in history]


def test_tensorboard_has_the_figures_and_pictures(run):
    log_to(run, "tensorboard", [10, 20])
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [(scalar.step, scalar.value) for scalar in events.Scalars("train/loss")] == [
        (10, pytest.approx(0.1)),
        (20, pytest.approx(0.05)),
    ]
    (image,) = events.Images("predictions")
    shown = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert image.step == 20
    np.testing.assert_array_equal(shown[..., ::-1], PICTURE)


def test_tensorboard_drops_what_a_killed_run_wrote_after_the_resumed_step(run):
    log_to(run, "tensorboard", [10, 20, 30])
    (written,) = run.tensorboard.iterdir()
    written.rename(run.tensorboard / "events.out.tfevents.0000000001.before")  # the names tell the second
    log_to(run, "tensorboard", [25], resume_step=20)
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [scalar.step for scalar in events.Scalars("train/loss")] == [10, 20, 25]


def test_wandb_has_the_figures_pictures_and_settings_offline_in_the_folder_of_the_run(run):
    log_to(run, "wandb", [10, 20])
    (records,) = wandb_records(run)
    first, second, picture = wandb_rows(records)
    assert {"train/loss": 0.1, "train/lr": 0.5, "step": 10}.items() <= first.items()
    assert {"train/loss": 0.05, "step": 20}.items() <= second.items()
    assert picture["step"] == 20
    (media,) = run.root.glob("wandb/offline-run-*/files/media/images/predictions_*.png")
    np.testing.assert_array_equal(cv2.imread(str(media))[..., ::-1], PICTURE)

    (started,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (started.project, started.display_name) == ("yolox-jax", "first")
    assert {item.key: json.loads(item.value_json) for item in started.config.update}.items() >= SETTINGS.items()
    axes = {record.metric.glob_name: record.metric.step_metric for record in records if record.HasField("metric")}
    assert axes["*"] == "step"


def test_wandb_goes_on_with_its_run_and_takes_steps_that_are_done_again(run):
    log_to(run, "wandb", [10, 20, 30])
    log_to(run, "wandb", [20, 30, 40], resume_step=10)
    first, second = wandb_records(run)
    runs = [record.run for records in (first, second) for record in records if record.HasField("run")]
    assert runs[0].run_id == runs[1].run_id
    assert json.loads(run.logger_ids.read_text()) == {"wandb": runs[0].run_id}
    rows = wandb_rows(second)
    assert [row["step"] for row in rows] == [20, 30, 40, 40]
    assert [row["_step"] for row in rows] == [0, 1, 2, 3]  # its own count, which `wandb sync` can carry on


@pytest.mark.parametrize(("failed", "exit_code"), [(False, 0), (True, 1)])
def test_wandb_is_told_how_the_run_ended(run, failed, exit_code):
    log_to(run, "wandb", [10], failed=failed)
    (records,) = wandb_records(run)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [exit_code]


def test_wandb_without_an_account_is_an_error_that_names_the_way_out(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(run.root / "netrc"))
    with pytest.raises(ConfigError, match="--train.loggers wandb: .*WANDB_MODE=offline"):
        open_metric_writers(["wandb"], run, SETTINGS, 0)


@mlflow_warns
def test_mlflow_has_the_figures_pictures_and_settings_in_the_folder_of_the_run(run):
    log_to(run, "mlflow", [10, 20])
    client, (stored,) = mlflow_client(run), mlflow_runs(run)
    assert (stored.info.run_name, stored.info.status) == ("first", "FINISHED")
    assert points(client.get_metric_history(stored.info.run_id, "train/loss")) == [(10, 0.1), (20, 0.05)]
    # MLflow accepts no @ in names.
    assert points(client.get_metric_history(stored.info.run_id, "evaluation/recall_0.9")) == [(10, 0.25), (20, 0.25)]
    assert stored.data.params == {name: str(value) for name, value in flatten(SETTINGS).items()}
    assert stored.data.params["data.input_size"] == "[640, 640]"
    artifacts = run.mlflow / "artifacts" / stored.info.run_id / "artifacts"
    assert json.loads((artifacts / "config.json").read_text()) == SETTINGS
    (picture,) = [file.path for file in client.list_artifacts(stored.info.run_id, "images") if "png" in file.path]
    assert re.match("images/predictions.step.20.timestamp", picture)
    np.testing.assert_array_equal(cv2.imread(str(artifacts / picture))[..., ::-1], PICTURE)
    assert sorted(path.name for path in Path().iterdir()) == ["runs"]  # nothing where the command runs


@mlflow_warns
def test_mlflow_goes_on_with_its_run_under_settings_that_may_change(run):
    log_to(run, "mlflow", [10, 20, 30], failed=True)
    (before,) = mlflow_runs(run)
    assert before.info.status == "FAILED"
    changed = config_to_dict(Config(train=TrainConfig(loggers=NAMES, log_interval=5)))
    (writer,) = open_metric_writers(["mlflow"], run, changed, 10)
    (going_on,) = mlflow_runs(run)
    assert going_on.info.status == "RUNNING"
    for step in (20, 30, 40):
        writer.write_scalars(step, {"train/loss": 1 / step})
    writer.close()

    client, (stored,) = mlflow_client(run), mlflow_runs(run)
    assert (stored.info.run_id, stored.info.status) == (before.info.run_id, "FINISHED")
    assert json.loads(run.logger_ids.read_text()) == {"mlflow": stored.info.run_id}
    history = points(client.get_metric_history(stored.info.run_id, "train/loss"))
    assert sorted(history) == [(step, 1 / step) for step in (10, 20, 20, 30, 30, 40)]
    assert stored.data.metrics["train/loss"] == 1 / 40
    assert stored.data.params["train.log_interval"] == "10"
    artifacts = run.mlflow / "artifacts" / stored.info.run_id / "artifacts"
    assert json.loads((artifacts / "config.json").read_text()) == changed


@mlflow_warns
def test_mlflow_takes_settings_of_any_length_and_number(run, monkeypatch):
    log_batch, sizes = mlflow.MlflowClient.log_batch, []

    def as_a_server_takes_it(self, run_id, params):
        sizes.append(len(params))
        log_batch(self, run_id, params=params)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", as_a_server_takes_it)
    settings = {"long": "x" * 9000, "many": {f"setting_{number}": number for number in range(230)}}
    (writer,) = open_metric_writers(["mlflow"], run, settings, 0)
    writer.close()
    (stored,) = mlflow_runs(run)
    assert len(stored.data.params) == 231
    assert max(sizes) <= 100  # more than that a server refuses, though not a database
    assert stored.data.params["long"] == "x" * 500


@mlflow_warns
def test_mlflow_that_lost_the_run_is_an_error_that_names_the_way_out(run, empty_database, monkeypatch):
    log_to(run, "mlflow", [10])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_database, run.root / 'other.db')}")
    with pytest.raises(ConfigError, match="--train.loggers mlflow: .* not found.*delete .*logger_ids.json"):
        open_metric_writers(["mlflow"], run, SETTINGS, 10)


@mlflow_warns
def test_mlflow_is_asked_no_more_after_it_failed_and_the_run_goes_on(run, monkeypatch, caplog):
    (writer,) = open_metric_writers(["mlflow"], run, SETTINGS, 0)
    calls = []

    def fail(*args, **options):
        calls.append(args)
        raise mlflow.MlflowException("no connection")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", fail)
    for step in (10, 20, 30):
        writer.write_scalars(step, {"train/loss": 1.0})
    writer.write_image(30, "predictions", PICTURE)
    writer.close()
    assert len(calls) == 1
    assert [record.message for record in caplog.records if "continues without it: no connection" in record.message]


@mlflow_warns
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_run_that_starts_over_gets_a_new_place(run, name):
    log_to(run, name, [10])
    first = json.loads(run.logger_ids.read_text())[name]
    log_to(run, name, [10])
    assert json.loads(run.logger_ids.read_text())[name] != first


@mlflow_warns
@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_not_finite_are_taken(run, name):
    (writer,) = open_metric_writers([name], run, SETTINGS, 0)
    writer.write_scalars(
        10, {"train/loss": math.nan, "train/norm": math.inf, "train/least": -math.inf, "train/lr": 0.5}
    )
    writer.write_scalars(20, {"train/loss": math.nan})
    writer.write_scalars(30, {"train/loss": 2.0})
    writer.close()
    if name == "tensorboard":
        events = EventAccumulator(str(run.tensorboard)).Reload()
        found = {tag: [scalar.value for scalar in events.Scalars(tag)] for tag in ("train/loss", "train/norm")}
        assert found == {"train/loss": [pytest.approx(math.nan, nan_ok=True)] * 2 + [2.0], "train/norm": [math.inf]}
    elif name == "wandb":
        (records,) = wandb_records(run)
        assert [row["step"] for row in wandb_rows(records)] == [10, 20, 30]
    else:
        (stored,) = mlflow_runs(run)
        assert stored.data.metrics == {"train/lr": 0.5, "train/loss": 2.0}


@pytest.mark.parametrize("package", ["wandb", "mlflow", "sqlalchemy"])
def test_missing_package_is_an_error_that_tells_how_to_install_it(package, monkeypatch):
    check_metric_writers(NAMES)
    monkeypatch.setitem(sys.modules, package, None)
    check_metric_writers(["tensorboard"])
    extra = "wandb" if package == "wandb" else "mlflow"
    message = rf"--train.loggers {extra} requires the package {package}, .*pip install 'yolox-jax\[{extra}\]'"
    with pytest.raises(ConfigError, match=message):
        check_metric_writers(NAMES)


def test_folder_of_the_name_of_a_package_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir(exist_ok=True)  # as wandb makes it where it runs
    monkeypatch.delitem(sys.modules, "wandb")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert importlib.util.find_spec("wandb") is not None
    with pytest.raises(ConfigError, match="requires the package wandb"):
        check_metric_writers(["wandb"])


@mlflow_warns
def test_a_logger_that_cannot_be_opened_leaves_none_open(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@localhost/mlflow")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match="MLflow at MLFLOW_TRACKING_URI rejected the run: .*psycopg") as caught:
        open_metric_writers(["wandb", "mlflow"], run, SETTINGS, 0)
    assert "secret" not in str(caught.value)
    (records,) = wandb_records(run)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1]


class Recorder:
    """A metric writer that records its calls."""

    def __init__(self) -> None:
        self.given: list = []

    def write_scalars(self, step, scalars):
        self.given.append((step, dict(scalars)))

    def write_image(self, step, name, image_rgb):
        self.given.append((step, name))

    def close(self, *, failed=False):
        self.given.append("failed" if failed else "finished")


def test_metrics_go_to_the_file_and_the_numbers_among_them_to_every_writer(run):
    recorders = [Recorder(), Recorder()]
    assert all(isinstance(recorder, MetricWriter) for recorder in recorders)
    with MetricsLog(run, resume_step=0, evaluated_step=0) as log:
        log.writers += recorders
        log.write("train", step=10, epoch=0.5, metrics={"loss": math.nan, "norm": math.inf, "lr": 0.1})
        log.write("evaluation", step=10, epoch=1, metrics={"AP": 0.5, "AP50": None, "per_class": {"cat": math.nan}})
        log.write_image(10, "predictions", PICTURE)
    train, evaluation, picture, end = recorders[0].given
    assert train == (10, {"train/loss": pytest.approx(math.nan, nan_ok=True), "train/norm": math.inf, "train/lr": 0.1})
    assert evaluation == (10, {"evaluation/AP": 0.5})
    assert (picture, end) == ((10, "predictions"), "finished")
    assert str(recorders[1].given) == str(recorders[0].given)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in run.metrics.read_text().splitlines()]
    assert lines == [
        {"kind": "train", "step": 10, "epoch": 0.5, "loss": None, "norm": None, "lr": 0.1},
        {"kind": "evaluation", "step": 10, "epoch": 1, "AP": 0.5, "AP50": None, "per_class": {"cat": None}},
    ]


def test_writers_are_closed_as_failed_by_an_error_even_where_one_of_them_fails(run):
    class Broken(Recorder):
        def close(self, *, failed=False):
            raise OSError("full")

    recorder = Recorder()
    with (
        pytest.raises(OSError, match="full"),
        MetricsLog(run, resume_step=0, evaluated_step=0) as log,
    ):
        log.writers += [recorder, Broken(), recorder]
        raise ValueError
    assert recorder.given == ["failed", "failed"]


def test_resuming_drops_training_and_evaluations_after_their_own_steps(run):
    with MetricsLog(run, resume_step=0, evaluated_step=0) as log:
        for step in (10, 20, 30):
            log.write("train", step=step, epoch=step / 10, metrics={"loss": 1.0})
            log.write("evaluation", step=step, epoch=step / 10, metrics={"AP": 0.5})
    with MetricsLog(run, resume_step=20, evaluated_step=10):
        pass
    left = [(record["kind"], record["step"]) for record in read_metrics(run.metrics)]
    assert left == [("train", 10), ("evaluation", 10), ("train", 20)]


def test_curves_leave_out_what_was_not_finite(tmp_path):
    train = {"loss": None, "iou": 1.0, "objectness": 1.0, "classification": 1.0, "l1": 0.0, "lr": None}
    records = [
        {"kind": "train", "step": 10, "epoch": 1.0, **train},
        {"kind": "train", "step": 20, "epoch": 2.0, **train, "loss": 2.0},
        {"kind": "evaluation", "step": 10, "epoch": 1, "AP": None, "AP50": None, "AP75": None},
    ]
    draw_curves(records, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_have_whole_epochs_no_zeros_and_legends_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    losses = {"loss": 3.0, "iou": 1.0, "objectness": 1.0, "classification": 1.0, "l1": 0.0, "lr": 0.01}
    records = [{"kind": "train", "step": step, "epoch": step / 10, **losses} for step in range(21)]
    records += [{"kind": "evaluation", "step": 10 * n, "epoch": n, "AP": 0.1, "AP50": 0.2} for n in (1, 2)]
    draw_curves(records, tmp_path / "curves.png")
    (figure,) = figures
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert all(tick == round(tick) for tick in axes.get_xticks())
        legend = axes.get_legend()
        assert legend is None or not legend.get_window_extent().overlaps(axes.get_window_extent())
    low, high = figure.axes[0].get_ylim()
    assert low > 0.5 and high < 6
