"""Reports the metrics of a run every few steps."""

import dataclasses
import math

import jax
import numpy as np

from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.meter import Meter
from yolox_jax.training.reporting.metrics_log import LOSSES, MetricsLog
from yolox_jax.training.reporting.non_finite import NonFiniteGuard
from yolox_jax.training.reporting.utilization import peak_tflops, utilization
from yolox_jax.training.run_schedule import RunSchedule


@dataclasses.dataclass(frozen=True)
class StepReporter:
    """Reports the metrics that a meter has collected."""

    schedule: RunSchedule
    log: MetricsLog | None
    """None on all processes but the first."""
    console: TrainingConsole
    guard: NonFiniteGuard
    gflops: float
    """GFLOPs of the forward pass for one image at `data.input_size`."""

    def report(self, step: int, meter: Meter) -> dict[str, float]:
        """Records and shows the metrics of the steps since the last report, `step` being the newest.

        Returns:
            The metrics, as `metrics.jsonl` records them.

        Raises:
            TrainingError: a step was not finite, and `train.non_finite` is `stop`.
        """
        steps = meter.steps()
        self.guard.check(step + 1 - len(steps), steps)
        metrics = meter.report()
        metrics["lr"] = self.schedule.learning_rate_at(step)
        metrics["input_height"], metrics["input_width"] = self.schedule.size_at(step)
        peak = peak_tflops(jax.devices()[0].device_kind, self.schedule.config.train.precision)
        if peak is not None:
            sizes = [self.schedule.size_at(taken) for taken in range(step + 1 - len(steps), step + 1)]
            gflops = (
                self.gflops * float(np.mean(np.prod(sizes, axis=1))) / math.prod(self.schedule.config.data.input_size)
            )
            rate = metrics["images_per_second"]
            metrics["utilization"] = utilization(gflops, rate, peak, jax.device_count())
        done = step + 1
        if self.log is not None:
            epoch = round(self.schedule.epochs_after(done), 4)
            self.log.write("train", step=done, epoch=epoch, metrics=metrics)
        self.console.show_step(done, self._line(step, metrics), metrics)
        return metrics

    def _line(self, step: int, metrics: dict[str, float]) -> str:
        epochs, steps = self.schedule.config.schedule.epochs, self.schedule.total_steps
        losses = " ".join(f"{name} {metrics[name]:.3g}" for name in LOSSES if name in metrics)
        parts = [
            f"epoch {self.schedule.whole_epochs_after(step) + 1}/{epochs} step {step + 1}/{steps}",
            "all steps skipped" if math.isnan(metrics["loss"]) else losses,
            f"lr {metrics['lr']:.2e}",
            f"{metrics['input_height']}x{metrics['input_width']}",
            f"{metrics['images_per_second']:.1f} images/s, {metrics['data_wait']:.0%} waiting for data",
            f"{metrics['memory_mib']:.0f} MiB",
        ]
        if "utilization" in metrics:
            parts.append(f"{metrics['utilization']:.0%} of peak")
        if metrics["skipped"]:
            parts.append(f"{metrics['skipped']:.0f} skipped, loss scale {metrics['loss_scale']:g}")
        return " | ".join(parts)
