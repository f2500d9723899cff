"""Settings of the training step, logging and checkpoints."""

import dataclasses
from typing import Annotated, Literal

from yolox_jax.config.model import STRIDE
from yolox_jax.config.ranges import Ascending, AtLeast, Below, Count, CountOrZero, MultiplesOf, NonNegative, Positive


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training step, logging and checkpoints."""

    batch_size: Count = 64  # docs/yolox.md, 10.1
    """Total batch size across devices; `train` also takes `auto`, the largest that fits. The published weights were
    trained with 128."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Compute dtype of the network. Parameters, batch statistics, assignment and losses stay in float32. float16 is for
    GPUs without bfloat16 (V100) and uses dynamic loss scaling."""
    loss_scale: Positive = 65536.0  # docs/yolox.md, 6
    """Initial loss scale in float16, which keeps small gradients from underflowing."""
    loss_scale_growth_steps: Count = 2000
    """Steps in float16 without an overflow after which the loss scale is doubled. Each overflow halves it and skips the
    update of that step."""
    sync_batch_norm: bool = False
    """Compute batch norm statistics over the images of all devices. The original computes them per device."""
    accumulation_steps: Count = 1
    """Gradient accumulation: number of micro-batches that each device splits its images into, to save memory. The
    gradients are those of the whole batch (nearly so for the branch of `model.end_to_end`, whose loss has a divisor of
    its own); batch norm sees one micro-batch at a time."""
    rematerialise: Literal["none", "stage"] = "none"
    """Recompute activations in the backward pass instead of storing them, to save memory (gradient checkpointing).
    `stage`: those within each stage of the network: the stem and four stages of the backbone, each CSP layer of the
    neck, each level of the head. This costs about one more forward pass."""
    fused_conv: bool = False
    """Compute 1x1 convolutions together with the batch norms around them, in kernels that move fewer bytes. For NVIDIA
    GPUs of compute capability 8.0 (A100) and later, in bfloat16 or float16; elsewhere it has no effect. Experimental:
    not timed on a card yet."""
    deterministic: bool = False
    """Make repeated runs on GPUs bit-for-bit equal: use only kernels that always add in the same order, without
    autotuning. Slower. On CPUs, runs are always deterministic."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What to do when a loss or gradient is NaN or infinite: stop the run, or skip the step and count it. Overflows
    that are normal in float16 do not count. Either way the step does not change the weights, and its batch and image
    names are saved."""
    ema_decay: Annotated[float, AtLeast(0), Below(1)] = 0.9999  # docs/yolox.md, 10.1; the original's issue 735
    """Decay of the exponential moving average (EMA) of the weights. The original uses 0.9998; 0.9999 gives a higher AP
    at batch size 64. 0 turns averaging off: evaluations and saved weights are then those of the last step."""
    ema_ramp_steps: Positive | None = 2000.0  # docs/yolox.md, 8.3
    """Time constant of the EMA ramp: after n steps, the decay is `ema_decay` * (1 - exp(-n / this)). None: 2000, and
    less in short runs, so that at the end the average spans about a tenth of the run."""
    multiscale_px: Annotated[tuple[int, int], MultiplesOf(STRIDE), Ascending()] | None = (480, 800)
    """Smallest and largest input height for multi-scale training, in px, multiples of 32. None: train at one size."""
    multiscale_interval: Count = 10
    """Steps between changes of the input size in multi-scale training."""
    log_interval: Count = 10
    """Steps between logged metrics."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    """Metric writers, in addition to metrics.jsonl. `wandb` and `mlflow` are extras: `pip install
    'yolox-jax[wandb]'`."""
    keep_checkpoints: Count = 2
    """Number of recent checkpoints to keep for `--resume`, in addition to that of the best weights. A checkpoint is
    saved at the end of each epoch and when a run is interrupted."""
    checkpoint_steps: CountOrZero = 0
    """Steps between additional checkpoints within an epoch; 0 turns them off."""
    checkpoint_minutes: NonNegative = 15.0
    """Minutes between additional checkpoints within an epoch; 0 turns them off."""
