"""Where a run shows its figures and pictures: TensorBoard, Weights & Biases, MLflow.

The figures are in `metrics.jsonl` besides, whatever is chosen here (see `reporting.MetricsLog`).
"""

import contextlib
import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from yolox_jax.config import ConfigError
from yolox_jax.training.run_directory import RunDirectory, flatten

logger = logging.getLogger("yolox_jax.training")

PROJECT = "yolox-jax"
"""Project at Weights & Biases, experiment in MLflow, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says another."""

PARAM_LENGTH = 500
"""Characters of a setting that MLflow takes as a parameter. 3.x takes 6000, Databricks and older servers 500."""

PARAMS_PER_CALL = 100
"""Parameters that MLflow takes in one call."""

# What a logger needs beyond what every installation has; the extra of its name brings them.
_PACKAGES = {"tensorboard": (), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


@runtime_checkable
class Logger(Protocol):
    """Takes the figures and pictures of a run. Figures need not be finite."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Takes figures after `step` steps, by names such as `train/loss`."""

    def log_image(self, name: str, image_rgb: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Takes a picture after `step` steps."""

    def close(self, *, failed: bool = False) -> None:
        """Writes what is pending and ends the run there; `failed` where an error ended it."""


def check_loggers(names: Sequence[str]) -> None:
    """Checks that the packages of the chosen loggers are installed.

    Raises:
        ConfigError: One is not; the message tells how to install it.
    """
    for name in names:
        for package in _PACKAGES[name]:
            spec = importlib.util.find_spec(package)
            # A folder without code, as wandb leaves one of its own name where it runs, has no origin.
            if spec is None or spec.origin is None:
                raise ConfigError(
                    f"--train.loggers {name} needs the package {package}, which is not installed; "
                    f"pip install 'yolox-jax[{name}]' brings it. Or leave {name} out of --train.loggers"
                )


def open_loggers(names: Sequence[str], run: RunDirectory, settings: dict[str, Any], resume_step: int) -> list[Logger]:
    """Opens the chosen loggers; who gets them closes them.

    Args:
        names: The setting `train.loggers`.
        run: Folder of the run, which must exist.
        settings: Every setting of the run, as `config_to_dict` gives them.
        resume_step: Steps done. Above 0, what each logger began is gone on with; at 0, it begins anew.

    Raises:
        ConfigError: Weights & Biases or MLflow does not take the run: no account, no server, or no such run there.
    """
    with contextlib.ExitStack() as opened:
        loggers: list[Logger] = []
        for name in dict.fromkeys(names):
            loggers.append(_open(name, run, settings, resume_step))
            opened.callback(loggers[-1].close, failed=True)
        opened.pop_all()  # all are open: from here on the caller closes them
    return loggers


def _open(name: str, run: RunDirectory, settings: dict[str, Any], resume_step: int) -> Logger:
    if name == "wandb":
        return WandbLogger(run, settings, resumed=resume_step > 0)
    if name == "mlflow":
        return MlflowLogger(run, settings, resumed=resume_step > 0)
    return TensorBoardLogger(run, resume_step)


class TensorBoardLogger:
    """Event files in `tensorboard/`."""

    def __init__(self, run: RunDirectory, resume_step: int) -> None:
        # It warns of each figure that is not finite, which TensorBoard marks as such.
        logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
        # TensorBoard drops what a killed run wrote after the step it is resumed from.
        self._writer = SummaryWriter(str(run.tensorboard), purge_step=resume_step + 1)
        self._gave_up = False

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Writes scalars."""
        if self._writes():
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)

    def log_image(self, name: str, image_rgb: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Writes an image."""
        if self._writes():
            self._writer.add_image(name, image_rgb, step, dataformats="HWC")

    def close(self, *, failed: bool = False) -> None:
        """Writes what is pending."""
        if self._writes():
            self._writer.close()

    def _writes(self) -> bool:
        """Whether the thread that writes is alive: it ends when a disk is full, and tensorboardX waits for it then."""
        if not self._gave_up and not self._writer.file_writer.event_writer._worker.is_alive():
            self._gave_up = True
            logger.warning("TensorBoard's files can no longer be written; the run goes on without them")
        return not self._gave_up


class WandbLogger:
    """A run at Weights & Biases, with its files in `wandb/`; WANDB_MODE=offline leaves it there for `wandb sync`.

    wandb drops what is logged to a lower step of its own count than before (wandb issues 4482 and 5632), as a resumed
    run would with the steps it does again. So wandb counts its rows itself and takes them all, also where `wandb sync`
    joins the parts of a run resumed offline (wandb pull request 12666). The steps of training are a figure, `step`,
    that charts have as their axis (docs.wandb.ai: Customize log axes). Steps done again are there twice, in the same
    place, as a resumed run repeats itself. Rewinding a run would drop them, but not every server can, nor is it
    possible offline.
    """

    def __init__(self, run: RunDirectory, settings: dict[str, Any], *, resumed: bool) -> None:
        import wandb

        earlier_id = _read_id(run, "wandb") if resumed else None
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                # Only at first, since it can be renamed in the browser.
                name=None if earlier_id else os.environ.get("WANDB_NAME", run.root.resolve().name),
                id=earlier_id,
                resume="allow" if earlier_id else None,
                dir=str(run.root),
                config=settings,
            )
        except wandb.errors.Error as error:
            raise ConfigError(
                f"--train.loggers wandb: Weights & Biases does not take the run: {error} WANDB_MODE=offline does "
                "without network and account. Or leave wandb out of --train.loggers"
            ) from error
        _write_id(run, "wandb", self._run.id)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Adds a row."""
        self._run.log({**figures, "step": step})

    def log_image(self, name: str, image_rgb: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Adds a row with a picture."""
        import wandb

        self._run.log({name: wandb.Image(image_rgb), "step": step})

    def close(self, *, failed: bool = False) -> None:
        """Sends what is pending, which waits for the network."""
        self._run.finish(exit_code=int(failed))


class MlflowLogger:
    """A run in MLflow: at MLFLOW_TRACKING_URI, or in a database and a folder of pictures in `mlflow/`.

    The database is SQLite, MLflow's default since 3.7; plain files are refused since 3.13. MLflow keeps every point,
    by step and time, and can remove none. So steps done again after a resume are there twice, in the same place, as a
    resumed run repeats itself. Parameters cannot change once they are set, so they tell how the run began; the
    artifact `config.json` tells the settings of now.
    """

    def __init__(self, run: RunDirectory, settings: dict[str, Any], *, resumed: bool) -> None:
        import mlflow

        self._gave_up = False
        artifacts, where = None, "MLFLOW_TRACKING_URI"  # which may hold a password, so it is not shown
        if mlflow.is_tracking_uri_set():
            uri = mlflow.get_tracking_uri()
        else:
            folder = run.mlflow.resolve()
            folder.mkdir(exist_ok=True)
            artifacts = (folder / "artifacts").as_uri()
            uri = where = f"sqlite:///{folder / 'mlflow.db'}"
        earlier_id = _read_id(run, "mlflow") if resumed else None
        try:
            # A client of its own leaves alone the run that MLflow keeps as a global for the calling program.
            self._client = mlflow.MlflowClient(uri)
            if earlier_id:
                self._client.update_run(earlier_id, status="RUNNING")
            self._id = earlier_id or self._create_run(run.root.resolve().name, settings, artifacts)
            self._client.log_dict(self._id, settings, "config.json")
        except Exception as error:  # MLflow's, its database's, a missing driver's: they share no class
            raise ConfigError(
                f"--train.loggers mlflow: MLflow at {where} does not take the run: {error}. Set MLFLOW_TRACKING_URI to "
                f"where MLflow is; where it has lost the run, delete {run.logger_ids} to begin another. Or leave "
                "mlflow out of --train.loggers"
            ) from error
        _write_id(run, "mlflow", self._id)
        hint = f"; to see it: mlflow ui --backend-store-uri {where}" if artifacts else ""
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

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Stores the finite figures as metrics: MLflow's pages fail on NaN (mlflow issue 16555)."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for name, value in figures.items() if math.isfinite(value)]
        self._attempt(lambda: self._client.log_batch(self._id, metrics=metrics))

    def log_image(self, name: str, image_rgb: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Stores a picture, to be leafed through by steps."""
        self._attempt(lambda: self._client.log_image(self._id, image_rgb, key=name, step=step))

    def close(self, *, failed: bool = False) -> None:
        """Tells how the run ended."""
        self._attempt(lambda: self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED"))

    def _attempt(self, call: Callable[[], Any]) -> None:
        """Calls MLflow unless it failed before: a call tries for minutes, which a long training cannot wait each time.

        The errors of places for pictures, such as S3, have no class in common.
        """
        if self._gave_up:
            return
        try:
            call()
        except Exception as error:
            self._gave_up = True
            logger.warning("MLflow takes nothing more, and the run goes on without it: %s", error)


def _read_id(run: RunDirectory, name: str) -> str | None:
    return json.loads(run.logger_ids.read_text()).get(name) if run.logger_ids.exists() else None


def _write_id(run: RunDirectory, name: str, run_id: str) -> None:
    ids = json.loads(run.logger_ids.read_text()) if run.logger_ids.exists() else {}
    partial = run.logger_ids.with_suffix(".partial")
    partial.write_text(json.dumps({**ids, name: run_id}, indent=2) + "\n")
    partial.replace(run.logger_ids)
