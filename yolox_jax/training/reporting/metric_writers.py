"""Metric writers: TensorBoard, Weights & Biases and MLflow.

`metrics.jsonl` holds the same metrics whichever writers are chosen (see `metrics_log.MetricsLog`).
"""

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from yolox_jax.config import ConfigError
from yolox_jax.config.serialization import flatten
from yolox_jax.files import atomic_write, write_json
from yolox_jax.training.run_directory import RunDirectory

logger = logging.getLogger("yolox_jax.training")

PROJECT = "yolox-jax"
"""Project in Weights & Biases and experiment in MLflow, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME is set."""

PARAM_LENGTH = 500
"""Maximum length of a parameter value that every MLflow server accepts: 3.x accepts 6000 characters, Databricks and
older servers 500."""

NOT_IN_NAMES = r"[^\w/.\- :]"
"""Characters that MLflow does not accept in the name of a metric, such as the @ of recall@0.9."""

PARAMS_PER_CALL = 100
"""Maximum number of parameters that MLflow accepts in one call."""

# Packages that a writer needs in addition to the core dependencies; the extra of the same name installs them.
_PACKAGES = {"tensorboard": (), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


@runtime_checkable
class MetricWriter(Protocol):
    """Writes the metrics and images of a run. Metrics may be NaN or infinite."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes metrics after `step` steps, under names such as `train/loss`."""

    def write_image(self, step: int, name: str, image_rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Writes an image after `step` steps."""

    def close(self, *, failed: bool = False) -> None:
        """Flushes and ends the run; `failed` if it ended with an error."""


def check_metric_writers(names: Sequence[str]) -> None:
    """Checks that the packages of the chosen metric writers are installed.

    Raises:
        ConfigError: one is missing; the message says how to install it.
    """
    for name in names:
        for package in _PACKAGES[name]:
            spec = importlib.util.find_spec(package)
            # A folder without code has no origin, such as the `wandb` folder that wandb creates where it runs.
            if spec is None or spec.origin is None:
                raise ConfigError(
                    f"--train.loggers {name} requires the package {package}, which is not installed. Run "
                    f"`pip install 'yolox-jax[{name}]'`, or remove {name} from --train.loggers"
                )


def open_metric_writers(
    names: Sequence[str], run: RunDirectory, settings: dict[str, Any], resume_step: int
) -> list[MetricWriter]:
    """Opens the chosen metric writers. The caller closes them.

    Args:
        names: the setting `train.loggers`.
        run: the run directory, which must exist.
        settings: the config of the run, from `config_to_dict`.
        resume_step: steps done so far. Above 0, each writer continues its earlier run; at 0, it starts a new one.

    Raises:
        ConfigError: Weights & Biases or MLflow rejects the run: no account, no server, or no such run.
    """
    with contextlib.ExitStack() as opened:
        writers: list[MetricWriter] = []
        for name in dict.fromkeys(names):
            writers.append(_WRITERS[name](run, settings, resume_step))
            opened.callback(writers[-1].close, failed=True)
        opened.pop_all()  # all are open; from here on, the caller closes them
    return writers


class TensorBoardWriter:
    """Writes TensorBoard event files to `tensorboard/`."""

    def __init__(self, run: RunDirectory, settings: dict[str, Any], resume_step: int) -> None:
        # It warns about every metric that is not finite, which TensorBoard shows as such anyway.
        self._warnings = logging.getLogger("tensorboardX.x2num")
        self._warnings_level = self._warnings.level
        self._warnings.setLevel(logging.ERROR)
        # Makes TensorBoard discard what a killed run wrote after the step that it resumes from.
        self._writer = SummaryWriter(str(run.tensorboard), purge_step=resume_step + 1)
        self._gave_up = False

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes scalars."""
        if self._writes():
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def write_image(self, step: int, name: str, image_rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Writes an image."""
        if self._writes():
            self._writer.add_image(name, image_rgb, step, dataformats="HWC")

    def close(self, *, failed: bool = False) -> None:
        """Flushes the event files."""
        self._warnings.setLevel(self._warnings_level)
        if self._writes():
            self._writer.close()

    def _writes(self) -> bool:
        """Whether the writer thread is alive. It ends when the disk is full, and tensorboardX would wait for it."""
        if not self._gave_up and not self._writer.file_writer.event_writer._worker.is_alive():
            self._gave_up = True
            logger.warning("TensorBoard event files can no longer be written; training continues without them")
        return not self._gave_up


class WandbWriter:
    """Writes to Weights & Biases, with files in `wandb/`. With WANDB_MODE=offline, `wandb sync` uploads them later.

    wandb discards rows logged with a step lower than its own counter (wandb issues 4482 and 5632). A resumed run would
    log such rows for the steps it repeats. So no step is passed: wandb numbers the rows itself and keeps them all, even
    when `wandb sync` joins the parts of a run resumed offline (wandb pull request 12666). The training step is logged
    as a metric, `step`, which charts use as their x axis (docs.wandb.ai: Customize log axes). Repeated steps appear
    twice at the same point, with the same values. Rewinding the run would remove them, but not every server supports
    that, and it does not work offline.
    """

    def __init__(self, run: RunDirectory, settings: dict[str, Any], resume_step: int) -> None:
        import wandb

        earlier_id = _read_id(run, "wandb") if resume_step else None
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                # Set only for a new run, because users may rename runs in the browser.
                name=None if earlier_id else os.environ.get("WANDB_NAME", run.root.resolve().name),
                id=earlier_id,
                resume="allow" if earlier_id else None,
                dir=str(run.root),
                config=settings,
            )
        except wandb.errors.Error as error:
            raise ConfigError(
                f"--train.loggers wandb: Weights & Biases rejected the run: {error} Set WANDB_MODE=offline to log "
                "without a network connection or an account, or remove wandb from --train.loggers"
            ) from error
        _write_id(run, "wandb", self._run.id)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs metrics as a row."""
        self._run.log({**scalars, "step": step})

    def write_image(self, step: int, name: str, image_rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Logs an image as a row."""
        import wandb

        self._run.log({name: wandb.Image(image_rgb), "step": step})

    def close(self, *, failed: bool = False) -> None:
        """Uploads pending data, which waits for the network."""
        self._run.finish(exit_code=int(failed))


class MlflowWriter:
    """Writes to MLflow: to MLFLOW_TRACKING_URI, or to a database and a folder of images in `mlflow/`.

    The database is SQLite, MLflow's default since 3.7; 3.13 and later reject plain files. MLflow stores every point by
    step and time and cannot delete any, so steps repeated after a resume appear twice at the same point, with the same
    values. Parameters cannot change once they are set, so they hold the settings that the run started with; the
    artifact `config.json` holds the current ones.
    """

    def __init__(self, run: RunDirectory, settings: dict[str, Any], resume_step: int) -> None:
        import mlflow

        self._gave_up = False
        artifacts, where = None, "MLFLOW_TRACKING_URI"  # the address itself may contain a password
        if mlflow.is_tracking_uri_set():
            uri = mlflow.get_tracking_uri()
        else:
            folder = run.mlflow.resolve()
            folder.mkdir(exist_ok=True)
            artifacts = (folder / "artifacts").as_uri()
            uri = where = f"sqlite:///{folder / 'mlflow.db'}"
        earlier_id = _read_id(run, "mlflow") if resume_step else None
        try:
            # A separate client does not touch the global run of the calling program.
            self._client = mlflow.MlflowClient(uri)
            if earlier_id:
                self._client.update_run(earlier_id, status="RUNNING")
            self._id = earlier_id or self._create_run(run.root.resolve().name, settings, artifacts)
            self._client.log_dict(self._id, settings, "config.json")
        except Exception as error:  # MLflow, its database and a missing driver raise errors without a common base class
            raise ConfigError(
                f"--train.loggers mlflow: MLflow at {where} rejected the run: {error}. Set MLFLOW_TRACKING_URI to the "
                f"address of your server. If the server no longer has the run, delete {run.logger_ids} to start a new "
                "one. To train without MLflow, remove mlflow from --train.loggers"
            ) from error
        _write_id(run, "mlflow", self._id)
        hint = f"; open it with: mlflow ui --backend-store-uri {where}" if artifacts else ""
        logger.info("MLflow: run %s at %s%s", self._id, where, hint)

    def _create_run(self, name: str, settings: dict[str, Any], artifacts: str | None) -> str:
        from mlflow.entities import Param

        experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(experiment_name)
        if experiment is None:
            experiment_id = self._client.create_experiment(experiment_name, artifact_location=artifacts)
        else:
            experiment_id = experiment.experiment_id
        run_id: str = self._client.create_run(experiment_id, run_name=name).info.run_id
        params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in flatten(settings).items()]
        for start in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_PER_CALL])
        return run_id

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs the finite metrics only: MLflow's pages fail on NaN (mlflow issue 16555)."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        finite = {name: value for name, value in scalars.items() if math.isfinite(value)}
        metrics = [Metric(re.sub(NOT_IN_NAMES, "_", name), value, now_ms, step) for name, value in finite.items()]
        self._attempt(lambda: self._client.log_batch(self._id, metrics=metrics))

    def write_image(self, step: int, name: str, image_rgb: UInt8[np.ndarray, "H W 3"]) -> None:
        """Logs an image, which MLflow shows with a slider over the steps."""
        self._attempt(lambda: self._client.log_image(self._id, image_rgb, key=name, step=step))

    def close(self, *, failed: bool = False) -> None:
        """Marks the run as finished or failed."""
        self._attempt(lambda: self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED"))

    def _attempt(self, call: Callable[[], Any]) -> None:
        """Calls MLflow unless an earlier call failed: MLflow retries for minutes, too long to wait at every step.

        Catches every error, because artifact stores such as S3 raise errors without a common base class.
        """
        if self._gave_up:
            return
        try:
            call()
        except Exception as error:
            self._gave_up = True
            logger.warning("MLflow failed, and training continues without it: %s", error)


_WRITERS: dict[str, Callable[[RunDirectory, dict[str, Any], int], MetricWriter]] = {
    "tensorboard": TensorBoardWriter,
    "wandb": WandbWriter,
    "mlflow": MlflowWriter,
}


def _read_id(run: RunDirectory, name: str) -> str | None:
    return json.loads(run.logger_ids.read_text()).get(name) if run.logger_ids.exists() else None


def _write_id(run: RunDirectory, name: str, run_id: str) -> None:
    ids = json.loads(run.logger_ids.read_text()) if run.logger_ids.exists() else {}
    with atomic_write(run.logger_ids) as temporary:
        write_json(temporary, {**ids, name: run_id}, indent=2)
