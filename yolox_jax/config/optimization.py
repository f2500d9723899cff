"""Settings of the learning-rate schedule and the optimizer."""

import dataclasses
from typing import Annotated

from yolox_jax.config.ranges import AtLeast, Below, Count, CountOrZero, Fraction, NonNegative, Positive


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:  # docs/yolox.md, 8.2
    """Length of the run and learning rate schedule."""

    epochs: Count = 300
    """Number of epochs. On the command line, a new number also scales `schedule.warmup_epochs` and
    `schedule.no_aug_epochs` in proportion, unless they are given too."""
    warmup_epochs: NonNegative = 5.0
    """Number of warm-up epochs. The learning rate rises quadratically from zero."""
    no_aug_epochs: CountOrZero = 15  # docs/yolox.md, 7.7
    """Number of final epochs without mosaic and MixUp. They run with the L1 loss on and the learning rate at its
    minimum. The original runs one epoch more than its setting says."""
    min_lr_ratio: Fraction = 0.05
    """Minimum learning rate as a fraction of the peak."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:  # docs/yolox.md, 8.1
    """Stochastic gradient descent with Nesterov momentum."""

    lr_per_image: Positive = 0.01 / 64
    """Peak learning rate per image of the batch. It is multiplied by `train.batch_size`, unless `optimizer.lr` is
    set."""
    lr: Positive | None = None
    """Peak learning rate of the whole batch. It takes the place of `optimizer.lr_per_image` times the batch size. None:
    use that."""
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.9
    """Nesterov momentum."""
    weight_decay: NonNegative = 5e-4
    """Coupled weight decay of convolution kernels; biases and batch norm parameters are not decayed."""
    clip_norm: NonNegative = 0.0
    """Clip gradients to this global norm; 0 turns clipping off, as in the original."""
