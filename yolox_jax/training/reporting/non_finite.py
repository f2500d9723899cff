"""Handling of losses and gradients that are not finite."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from yolox_jax.config import Config, peak_learning_rate
from yolox_jax.files import write_json
from yolox_jax.text import shortened
from yolox_jax.training.reporting.meter import Step

logger = logging.getLogger("yolox_jax.training")

MOST_KEPT = 10
"""Maximum number of batches saved per run, so that a diverged run does not fill the disk."""

MOST_CONSECUTIVE = 50
"""Number of consecutive skipped steps that ends the run: after so many batches, the weights must be the cause."""


class TrainingError(RuntimeError):
    """Training cannot continue. The message names the step and what to try."""


class NonFiniteGuard:
    """Saves the batch of each step that was not finite, and stops the run if `train.non_finite` says so."""

    def __init__(self, config: Config, folder: Path, load: Callable[[int], tuple[dict[str, np.ndarray], list[str]]]):
        """`load` returns this process's rows of the batch for a given step, and the paths of their images."""
        self._config, self._folder, self._load = config, folder, load
        self._consecutive = 0
        self._lower_rate = f"a lower --optimizer.lr (now {peak_learning_rate(config):.3g})"

    def check(self, first_step: int, steps: Sequence[Step]) -> None:
        """Checks the metrics of consecutive steps, starting with `first_step`, counted from 0.

        Raises:
            TrainingError: a step was not finite and `train.non_finite` is `stop`, or too many consecutive ones were
                not.
        """
        for step, metrics in enumerate(steps, first_step):
            if not metrics["skipped"]:
                self._consecutive = 0
                continue
            # An overflow in float16 is expected while the loss scale can still decrease.
            if np.isfinite(metrics["loss"]) and metrics["loss_scale"] > 1:
                continue
            self._consecutive += 1
            where = self._keep(step, metrics)
            if self._config.train.non_finite == "stop":
                overflow = ""
                if self._config.train.precision == "float16":
                    overflow = "; another --train.precision may too, as activations above 65504 overflow in float16"
                raise TrainingError(
                    f"the loss or its gradient is not finite at step {step + 1}; no weight was changed by it. {where} "
                    "To skip such steps, pass --resume --train.non-finite skip. In a new run, "
                    f"{self._lower_rate}, a longer --schedule.warmup-epochs or --optimizer.clip-norm may avoid them"
                    f"{overflow}"
                )
            if self._consecutive >= MOST_CONSECUTIVE:
                raise TrainingError(
                    f"the loss or its gradient was not finite in {self._consecutive} consecutive steps, up to step "
                    f"{step + 1}. {where} Start a new run with {self._lower_rate}"
                )
            logger.warning("step %d was skipped: the loss or its gradient is not finite. %s", step + 1, where)

    def _keep(self, step: int, metrics: Step) -> str:
        """Saves the batch of a step; returns a sentence for the log that says where."""
        process = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
        if len(list(self._folder.glob(f"*{process}.npz"))) >= MOST_KEPT:
            return f"Its batch was not saved, because {self._folder} already contains {MOST_KEPT}."
        try:
            return self._write(step, f"step_{step + 1:08d}{process}", metrics)
        except OSError as error:
            return f"Its batch could not be saved: {error}."

    def _write(self, step: int, stem: str, metrics: Step) -> str:
        batch, names = self._load(step)
        self._folder.mkdir(exist_ok=True)
        np.savez_compressed(self._folder / f"{stem}.npz", allow_pickle=False, **batch)
        about = {"step": step + 1, "metrics": {name: str(value) for name, value in metrics.items()}, "images": names}
        write_json(self._folder / f"{stem}.json", about, indent=2)
        return f"Its batch was saved to {self._folder / stem}.npz; images: {shortened(names, 4)}."
