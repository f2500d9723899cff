"""What happens at a loss or gradient that is not finite."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from yolox_jax.config import Config
from yolox_jax.files import write_json
from yolox_jax.text import shortened
from yolox_jax.training.reporting.meter import Step

logger = logging.getLogger("yolox_jax.training")

MOST_KEPT = 10
"""Batches kept in a run's folder, so that a run that goes wrong for good does not fill the disk."""

MOST_IN_A_ROW = 50
"""Steps in a row that may be skipped: after so many different batches it is the weights that are at fault."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and what to try."""


class NonFiniteGuard:
    """Looks at the steps of a run for one that was skipped, keeps its batch, and stops the run where it is to."""

    def __init__(self, config: Config, folder: Path, load: Callable[[int], tuple[dict[str, np.ndarray], list[str]]]):
        """`load` gives this process's rows of the batch of a step, and the names of the images they are made of."""
        self._config, self._folder, self._load = config, folder, load
        self._in_a_row = 0

    def check(self, first_step: int, steps: Sequence[Step]) -> None:
        """Looks at the metrics of consecutive steps, the first of which is `first_step`, counted from 0.

        Raises:
            TrainingError: one of them was not finite and `train.non_finite` is `stop`, or too many in a row were not.
        """
        for step, metrics in enumerate(steps, first_step):
            if not metrics["skipped"]:
                self._in_a_row = 0
                continue
            # An overflow of float16 is no fault while the loss scale can still fall.
            if np.isfinite(metrics["loss"]) and metrics["loss_scale"] > 1:
                continue
            self._in_a_row += 1
            where = self._keep(step, metrics)
            if self._config.train.non_finite == "stop":
                overflow = ""
                if self._config.train.precision == "float16":
                    overflow = "; so may another --train.precision, as activations above 65504 overflow in float16"
                raise TrainingError(
                    f"the loss or its gradient is not finite at step {step + 1}; no weight was changed by it. {where} "
                    "--resume --train.non-finite skip goes on without such steps; a lower --optimizer.lr-per-image, a "
                    f"longer --schedule.warmup-epochs or --optimizer.clip-norm in a new run may avoid them{overflow}"
                )
            if self._in_a_row >= MOST_IN_A_ROW:
                raise TrainingError(
                    f"the loss or its gradient was not finite in {self._in_a_row} steps in a row, up to step "
                    f"{step + 1}. {where} Start again from an earlier checkpoint or with a lower "
                    "--optimizer.lr-per-image"
                )
            logger.warning("step %d: the loss or its gradient is not finite; skipped. %s", step + 1, where)

    def _keep(self, step: int, metrics: Step) -> str:
        """Writes the batch of a step, and says where."""
        process = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
        if len(list(self._folder.glob(f"*{process}.npz"))) >= MOST_KEPT:
            return f"{self._folder} already holds {MOST_KEPT} such batches; this one is not kept."
        try:
            return self._write(step, f"step_{step + 1:08d}{process}", metrics)
        except OSError as error:
            return f"Its batch cannot be kept: {error}."

    def _write(self, step: int, stem: str, metrics: Step) -> str:
        batch, names = self._load(step)
        self._folder.mkdir(exist_ok=True)
        np.savez_compressed(self._folder / f"{stem}.npz", allow_pickle=False, **batch)
        about = {"step": step + 1, "metrics": {name: str(value) for name, value in metrics.items()}, "images": names}
        write_json(self._folder / f"{stem}.json", about, indent=2)
        return f"Its batch is kept in {self._folder / stem}.npz; images: {shortened(names, 4)}."
