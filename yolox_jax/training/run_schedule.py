"""The schedule of a run: what happens at each step and after each epoch, as a pure function of the config."""

import dataclasses
import math

import jax
import numpy as np

from yolox_jax.config import Config, peak_learning_rate
from yolox_jax.config.schedule import ema_ramp_steps
from yolox_jax.losses import loss_weights
from yolox_jax.training.step.learning_rates import learning_rate, stage_rates
from yolox_jax.training.step.multiscale import input_size_at
from yolox_jax.training.step.optimizer import ema_decay
from yolox_jax.training.step.scalars import AdamScalars, StepScalars


@dataclasses.dataclass(frozen=True)
class RunSchedule:
    """The course of a run. Steps and epochs are counted from 0."""

    config: Config
    steps_per_epoch: int
    class_weights: tuple[float, ...] | None = None
    """Weight of each class in the classification loss, from `yolox_jax.data.class_weights`; None if all count alike."""
    step_offset: int = 0
    """Steps that the run has done, less those that it would have done with these settings from the start. Not 0 in a
    run that was extended with another number of steps in an epoch."""
    also_evaluates_after: int | None = None
    """A number of steps after which the run evaluates, whatever the settings say: it did before it was extended."""

    @property
    def total_steps(self) -> int:
        """Steps in the whole run."""
        return self.config.schedule.epochs * self.steps_per_epoch + self.step_offset

    @property
    def no_aug_from(self) -> int:
        """First step of the last `no_aug_epochs`, without mosaic and with the L1 loss."""
        epochs = self.config.schedule.epochs - self.config.schedule.no_aug_epochs
        return epochs * self.steps_per_epoch + self.step_offset

    def in_whole_run(self, step: int) -> int:
        """The step of the same epoch in a run that had these settings from the start; the data depends on it."""
        return step - self.step_offset

    def epochs_after(self, steps: int) -> float:
        """Epochs done after `steps` steps."""
        return self.in_whole_run(steps) / self.steps_per_epoch

    def whole_epochs_after(self, steps: int) -> int:
        """Number of epochs that are complete after `steps` steps."""
        return self.in_whole_run(steps) // self.steps_per_epoch

    def learning_rate_at(self, step: int) -> float:
        """Learning rate at `step`."""
        step = self.in_whole_run(step)
        return learning_rate(step, peak_learning_rate(self.config), self.config.schedule, self.steps_per_epoch)

    def scalars_at(self, step: int) -> StepScalars:
        """The numbers that the training step takes at `step`, as float32."""
        optimizer, loss = self.config.optimizer, self.config.loss
        l1_weight = loss.l1_weight if step >= self.no_aug_from else 0.0
        scalars = StepScalars(
            learning_rate=self.learning_rate_at(step),
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            clip_norm=optimizer.clip_norm or math.inf,
            ema_decay=ema_decay(step + 1, self.config.train.ema_decay, ema_ramp_steps(self.config, self.total_steps)),
            loss=loss_weights(loss, self.class_weights)._replace(l1_weight=l1_weight),
            adam=AdamScalars(*optimizer.betas, optimizer.eps) if optimizer.name == "adamw" else None,
            stage_rates=stage_rates(optimizer.layer_decay) if optimizer.layer_decay != 1.0 else None,
        )
        return jax.tree.map(np.float32, scalars)

    def size_at(self, step: int) -> tuple[int, int]:
        """Height and width of the network input at `step`, in px."""
        return input_size_at(
            step,
            base=self.config.data.input_size,
            range_px=self.config.train.multiscale_px,
            interval=self.config.train.multiscale_interval,
            seed=self.config.seed,
            stride=self.config.model.strides[-1],
        )

    def sizes_from(self, step: int) -> list[tuple[int, int]]:
        """All input sizes from `step` on, in the order in which they are first needed; empty after the last step."""
        if step >= self.total_steps:
            return []
        interval, range_px = self.config.train.multiscale_interval, self.config.train.multiscale_px
        most = 1 if range_px is None else (range_px[1] - range_px[0]) // self.config.model.strides[-1] + 1
        sizes: dict[tuple[int, int], None] = {}
        for start in range(step // interval * interval, self.total_steps, interval):
            sizes[self.size_at(start)] = None
            if len(sizes) == most:  # usually after a few epochs
                break
        return list(sizes)

    def sizes_to_compile(self, step: int) -> list[tuple[int, int]]:
        """`sizes_from` with the largest size second, so that running out of memory is noticed early."""
        sizes = self.sizes_from(step)
        largest = sorted(sizes, key=lambda size: size[0] * size[1])[-1:]
        return list(dict.fromkeys([*sizes[:1], *largest, *sizes]))

    def logs_after(self, step: int) -> bool:
        """Whether metrics are reported after `step`: every `train.log_interval` steps and at the end of each epoch."""
        return (step + 1) % self.config.train.log_interval == 0 or self.ends_epoch(step)

    def saves_after(self, step: int) -> bool:
        """Whether a checkpoint is written after `step`: at the end of each epoch and every `train.checkpoint_steps`."""
        every = self.config.train.checkpoint_steps
        return self.ends_epoch(step) or (every > 0 and (step + 1) % every == 0)

    def ends_epoch(self, step: int) -> bool:
        """Whether `step` is the last one of its epoch."""
        return self.in_whole_run(step + 1) % self.steps_per_epoch == 0

    def evaluates_after(self, step: int) -> bool:
        """Whether an evaluation follows `step`: every `evaluation.interval` epochs, and after each of the last ones."""
        if step + 1 == self.also_evaluates_after:
            return True
        if step < 0 or not self.ends_epoch(step):
            return False
        done, schedule = self.whole_epochs_after(step + 1), self.config.schedule
        return (
            done % self.config.evaluation.interval == 0
            or done >= schedule.epochs - schedule.no_aug_epochs + 1
            or (done == schedule.epochs)
        )

    def stops_early(self, evaluations_since_best: int) -> bool:
        """Whether `evaluation.patience` is exhausted."""
        return 0 < self.config.evaluation.patience <= evaluations_since_best
