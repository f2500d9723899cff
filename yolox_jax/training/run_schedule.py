"""The schedule of a run: what happens at each step and after each epoch, as a pure function of the config."""

import dataclasses
import math

import jax
import numpy as np

from yolox_jax.config import Config, peak_learning_rate
from yolox_jax.config.schedule import ema_ramp_steps
from yolox_jax.losses import LossWeights
from yolox_jax.training.step.multiscale import input_size_at
from yolox_jax.training.step.optimizer import ema_decay, warmup_cosine
from yolox_jax.training.step.scalars import StepScalars


@dataclasses.dataclass(frozen=True)
class RunSchedule:
    """The course of a run. Steps and epochs are counted from 0."""

    config: Config
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Steps in the whole run."""
        return self.config.schedule.epochs * self.steps_per_epoch

    @property
    def no_aug_from(self) -> int:
        """First step of the last `no_aug_epochs`, without mosaic and with the L1 loss."""
        return (self.config.schedule.epochs - self.config.schedule.no_aug_epochs) * self.steps_per_epoch

    def learning_rate_at(self, step: int) -> float:
        """Learning rate at `step`."""
        return warmup_cosine(step, peak_learning_rate(self.config), self.config.schedule, self.steps_per_epoch)

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
            loss=LossWeights(**dataclasses.asdict(loss))._replace(l1_weight=l1_weight),
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
        return (step + 1) % self.steps_per_epoch == 0

    def evaluates_after(self, step: int) -> bool:
        """Whether an evaluation follows `step`: every `evaluation.interval` epochs, and after each of the last ones."""
        if step < 0 or not self.ends_epoch(step):
            return False
        done, schedule = (step + 1) // self.steps_per_epoch, self.config.schedule
        return (
            done % self.config.evaluation.interval == 0
            or done >= schedule.epochs - schedule.no_aug_epochs + 1
            or (done == schedule.epochs)
        )

    def stops_early(self, evaluations_since_best: int) -> bool:
        """Whether `evaluation.patience` is exhausted."""
        return 0 < self.config.evaluation.patience <= evaluations_since_best
