"""Validation during training: evaluates the averaged weights, saves them, and draws their predictions."""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from yolox_jax.config import Config, DataConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.analysis import analyse
from yolox_jax.evaluation.best_by import best_by_metrics, best_by_value
from yolox_jax.evaluation.prediction_sheet import draw_prediction_sheet
from yolox_jax.evaluation.runner import Evaluation, evaluate_detector
from yolox_jax.evaluation.validation_loss import validation_loss
from yolox_jax.files import write_json
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.picture_files import write_picture
from yolox_jax.models.yolox import YOLOX
from yolox_jax.training.checkpoints import Progress
from yolox_jax.training.distributed import agree
from yolox_jax.training.reporting.console import FILE_ONLY, TrainingConsole
from yolox_jax.training.reporting.metrics_log import MetricsLog, draw_curves, read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.step.state import TrainState
from yolox_jax.weights import export_state_dict, save_weights

logger = logging.getLogger("yolox_jax.training")


class Validator:
    """Evaluates the averaged weights of a run and saves the results in its directory."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        graphdef: nnx.GraphDef,
        run: RunDirectory,
        log: MetricsLog | None,
        console: TrainingConsole,
    ) -> None:
        """`log` is None on all processes but the first, the only one that writes files."""
        self._config, self._dataset, self._graphdef = config, dataset, graphdef
        self._run, self._log, self._console = run, log, console
        self._detector: Detector | None = None

    def validate(
        self, state: TrainState, epoch: int, progress: Progress, *, on_progress: Callable[[], None]
    ) -> tuple[Progress, dict[str, Any]]:
        """Evaluates the averaged weights after `epoch` (counted from 1); saves them, the curves and a few pictures.

        Each process evaluates its share of the images, and all return the same. `on_progress` is called after each
        batch. If it raises, the evaluation ends and nothing of it is saved.

        Returns:
            The progress of the run with this evaluation, and its metrics as `metrics.jsonl` records them.
        """

        def show(done: int, total: int) -> None:
            self._console.show(f"evaluating {done}/{total}")
            on_progress()

        start, step = time.perf_counter(), int(state.step)
        if self._detector is None:
            logger.info("epoch %d: compiling the evaluation", epoch, extra=FILE_ONLY)
            self._console.show("compiling the evaluation")
        model = averaged_model(self._graphdef, state)
        detector = self._detector_of(model)
        evaluation = evaluate_detector(
            detector,
            self._dataset,
            self._config.evaluation,
            broken_images=self._config.data.broken_images,
            num_threads=self._config.data.num_threads,
            loss=validation_loss(self._config, self._dataset),
            on_progress=show,
        )
        self._console.show("saving the evaluation")
        best_by = self._config.evaluation.best_by
        value = best_by_value(best_by, evaluation, self._dataset)
        metrics = evaluation.metrics.to_json() | (evaluation.losses or {}) | best_by_metrics(best_by, value)
        value = 0.0 if math.isnan(value) else value
        seconds = time.perf_counter() - start
        loss = "" if evaluation.losses is None else f"loss {evaluation.losses['loss']:.3g}, "
        logger.info(
            "epoch %d: AP %.4f, AP50 %.4f, %s%sin %.1f s",
            epoch,
            metrics["AP"] or 0.0,
            metrics["AP50"] or 0.0,
            "" if best_by in ("AP", "AP50") else f"{best_by} {value:.4f}, ",
            loss,
            seconds,
            extra=FILE_ONLY,
        )

        better = progress.best_value is None or value > progress.best_value
        is_kept = True
        if self._log is not None:
            self._log.write("evaluation", step=step, epoch=epoch, metrics=metrics)
            is_kept = self._write(self._log, evaluation, model, epoch, step, better=better)
        # Weights that could not be saved do not count as the best: a later evaluation may be saved again.
        better = better and not agree(not is_kept)
        if better:
            progress = progress._replace(best_value=value, best_epoch=epoch, best_step=step)
        since_best = 0 if better else progress.evaluations_since_best + 1
        return progress._replace(evaluated_step=step, evaluations_since_best=since_best), metrics

    def _write(
        self, log: MetricsLog, evaluation: Evaluation, model: YOLOX, epoch: int, step: int, *, better: bool
    ) -> bool:
        """Saves weights, metrics and pictures; returns False if these are the best weights and could not be saved."""
        names, data = self._dataset.class_names, self._config.data
        is_kept = not better
        try:
            if better:
                save_for_use(self._run.best_weights, model, names, data)
                is_kept = True
                document = analyse(evaluation, self._dataset, config=self._config, weights=f"epoch {epoch}")
                write_json(self._run.best_metrics, document)
            save_for_use(self._run.last_weights, model, names, data)
            self._draw(evaluation, epoch, step, log)
        except OSError as error:  # training continues even when the disk is full; checkpoints contain the weights
            logger.error("the weights or pictures of epoch %d could not be written: %s", epoch, error)
        return is_kept

    def _detector_of(self, model: YOLOX) -> Detector:
        if self._detector is None:
            names, size = self._dataset.class_names, self._config.data.input_size
            devices = jax.local_devices()
            self._detector = Detector(model=model, class_names=names, input_size=size, devices=devices)
        else:
            self._detector.update(model)
        return self._detector

    def _draw(self, evaluation: Evaluation, epoch: int, step: int, log: MetricsLog) -> None:
        draw_curves(read_metrics(self._run.metrics), self._run.curves)
        sheet = draw_prediction_sheet(self._dataset, evaluation, self._config.evaluation.num_pictures)
        if sheet is not None:
            path = self._run.predictions(epoch)
            path.parent.mkdir(exist_ok=True)
            write_picture(path, sheet)
            log.write_image(step, "predictions", np.ascontiguousarray(sheet[..., ::-1]))


def averaged_model(graphdef: nnx.GraphDef, state: TrainState) -> YOLOX:
    """The model with the averaged weights and statistics, in evaluation mode and float32 (docs/yolox.md, 8.3)."""
    # Unpacked on the host: hundreds of slices on the device would have to be compiled.
    params, batch_stats, frozen = jax.device_get((state.ema_params, state.ema_batch_stats, state.frozen))
    model = nnx.merge(graphdef, *jax.tree.map(jnp.array, (params.tree(), batch_stats.tree(), frozen)))
    model.eval()
    return model.with_dtype(jnp.float32)


def save_for_use(path: Path, model: YOLOX, class_names: tuple[str, ...], data: DataConfig) -> None:
    """Saves weights under the original's names, with the metadata that `predict` needs."""
    metadata = {
        "variant": model.variant,
        "num_classes": str(model.num_classes),
        "class_names": json.dumps(class_names),
        "input_size": json.dumps(data.input_size),
    }
    if data.bits != 8:
        metadata["bits"] = str(data.bits)
    if model.anchor_boxes:
        metadata["anchors"] = json.dumps(model.anchor_boxes)
    save_weights(path, export_state_dict(model), metadata)
