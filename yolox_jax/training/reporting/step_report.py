"""The line that a run shows and records every few steps."""

import dataclasses
import math

import jax
import numpy as np

from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.reporting.metrics_log import LOSSES, MetricsLog
from yolox_jax.training.reporting.non_finite import NonFiniteGuard
from yolox_jax.training.reporting.utilization import peak_tflops, utilization
from yolox_jax.training.run_schedule import Plan


@dataclasses.dataclass(frozen=True)
class StepReporter:
    """Turns the figures of a meter into lines."""

    plan: Plan
    log: MetricsLog | None
    """None on all processes but the first."""
    console: TrainingConsole
    guard: NonFiniteGuard
    gflops: float
    """Of one image at `data.input_size`, forward."""

    def report(self, step: int, meter: Meter) -> None:
        """Writes and shows the figures of the steps up to `step`, after a look at each of them.

        Raises:
            TrainingError: a step was not finite, and the run is to stop at that.
        """
        steps = meter.steps()
        self.guard.check(step + 1 - len(steps), steps)
        figures = meter.report()
        figures["lr"] = float(self.plan.learning_rate(step))
        figures["input_height"], figures["input_width"] = self.plan.size_at(step)
        peak = peak_tflops(jax.devices()[0].device_kind, self.plan.config.train.precision)
        if peak is not None:
            sizes = [self.plan.size_at(taken) for taken in range(step + 1 - len(steps), step + 1)]
            gflops = self.gflops * float(np.mean(np.prod(sizes, axis=1))) / math.prod(self.plan.config.data.input_size)
            rate = figures["images_per_second"]
            figures["utilization"] = utilization(gflops, rate, peak, jax.device_count())
        done = step + 1
        if self.log is not None:
            epoch = round(done / self.plan.steps_per_epoch, 4)
            self.log.write("train", step=done, epoch=epoch, figures=figures)
        self.console.show_step(done, self._line(step, figures))

    def _line(self, step: int, figures: dict[str, float]) -> str:
        epochs, steps = self.plan.config.schedule.epochs, self.plan.total_steps
        losses = " ".join(f"{name} {figures[name]:.3g}" for name in LOSSES)
        parts = [
            f"epoch {step // self.plan.steps_per_epoch + 1}/{epochs} step {step + 1}/{steps}",
            "every step was skipped" if math.isnan(figures["loss"]) else losses,
            f"lr {figures['lr']:.2e}",
            f"{figures['input_height']}x{figures['input_width']}",
            f"{figures['images_per_second']:.1f} images/s, {figures['data_wait']:.0%} waiting for data",
            f"{figures['memory_mib']:.0f} MiB",
        ]
        if "utilization" in figures:
            parts.append(f"{figures['utilization']:.0%} of peak")
        if figures["skipped"]:
            parts.append(f"{figures['skipped']:.0f} skipped, loss scale {figures['loss_scale']:g}")
        return " | ".join(parts)
