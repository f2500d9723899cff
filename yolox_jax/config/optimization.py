"""Settings of the learning-rate schedule and the optimizer."""

import dataclasses
from typing import Annotated, Literal

from yolox_jax.config.ranges import AtLeast, Below, Count, CountOrZero, Fraction, NonNegative, NonZeroFraction, Positive


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:  # docs/yolox.md, 8.2
    """Length of the run and learning rate schedule."""

    epochs: Count = 300
    """Number of epochs. On the command line, a new number also scales `schedule.warmup_epochs` and
    `schedule.no_aug_epochs` in proportion, unless they are given too."""
    warmup_epochs: NonNegative = 5.0
    """Number of warm-up epochs. The learning rate rises from zero: quadratically with `yoloxwarmcos`, linearly with
    `warmcos`. The other schedules have none."""
    no_aug_epochs: CountOrZero = 15  # docs/yolox.md, 7.7
    """Number of final epochs without mosaic and MixUp. They run with the L1 loss on and, with `yoloxwarmcos`, the
    learning rate at its minimum. The original runs one epoch more than its setting says."""
    min_lr_ratio: Fraction = 0.05
    """Minimum learning rate of `yoloxwarmcos` as a fraction of the peak."""
    name: Literal["yoloxwarmcos", "warmcos", "cos", "multistep"] = "yoloxwarmcos"
    """Learning rate schedule, by its name in the original. `yoloxwarmcos`: warm-up, half a cosine down to the minimum,
    and the minimum in the last epochs without mosaic. `warmcos`: warm-up, then half a cosine down to zero at the end.
    `cos`: half a cosine over the whole run. `multistep`: the peak, times `gamma` from each of the `milestones` on."""
    milestones: tuple[Positive, ...] = ()
    """Epochs after which `multistep` lowers the learning rate, in ascending order."""
    gamma: NonZeroFraction = 0.1
    """Factor of the learning rate at each milestone of `multistep`."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:  # docs/yolox.md, 8.1
    """The optimizer."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Optimizer: stochastic gradient descent with Nesterov momentum, as in the original, or AdamW. AdamW needs a tenth
    of the learning rate and a weight decay of 0.05, which the flag on the command line sets unless they are given."""
    lr_per_image: Positive = 0.01 / 64
    """Peak learning rate per image of the batch. It is multiplied by `train.batch_size`, unless `optimizer.lr` is
    set."""
    lr: Positive | None = None
    """Peak learning rate of the whole batch. It takes the place of `optimizer.lr_per_image` times the batch size. None:
    use that."""
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.9
    """Nesterov momentum of SGD."""
    betas: tuple[Annotated[float, AtLeast(0), Below(1)], Annotated[float, AtLeast(0), Below(1)]] = (0.9, 0.999)
    """Decays of AdamW's averages of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added by AdamW to the root of the average square, to divide by it."""
    weight_decay: NonNegative = 5e-4
    """Weight decay of convolution kernels; biases and batch norm parameters are not decayed. It is part of the gradient
    with SGD (coupled), and apart from it with AdamW (decoupled)."""
    clip_norm: NonNegative = 0.0
    """Clip gradients to this global norm; 0 turns clipping off, as in the original."""
    layer_decay: NonZeroFraction = 1.0
    """Factor of the learning rate from one stage of the network to the one below it, for fine-tuning: the head trains
    at the full rate, the neck at this times it, then dark5, dark4, dark3, dark2 and the stem. 1 turns it off, as in the
    original. 0.8 is a usual value."""


ADAMW_RATE = 0.1
"""Learning rate of AdamW relative to that of SGD. RTMDet trains networks like these at 0.004 for 256 images
(https://arxiv.org/abs/2212.07784), which is a tenth of 0.01 for 64."""

USUAL_DECAY = {"sgd": 5e-4, "adamw": 0.05}
"""Usual weight decay with each optimizer: the original's, and RTMDet's."""


def with_optimizer(recipe: OptimizerConfig, name: Literal["sgd", "adamw"]) -> OptimizerConfig:
    """Changes a recipe to another optimizer, with a learning rate and a weight decay that suit it.

    >>> adamw = with_optimizer(OptimizerConfig(lr=0.01), "adamw")
    >>> adamw.lr, adamw.weight_decay
    (0.001, 0.05)
    """
    if name == recipe.name:
        return recipe
    factor = ADAMW_RATE if name == "adamw" else 1 / ADAMW_RATE
    lr = None if recipe.lr is None else recipe.lr * factor
    return dataclasses.replace(
        recipe, name=name, lr_per_image=recipe.lr_per_image * factor, lr=lr, weight_decay=USUAL_DECAY[name]
    )
