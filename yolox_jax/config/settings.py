"""All settings of an experiment as frozen dataclasses, each with its meaning, unit, range and source.

The sections on augmentation, assignment and losses are in `augment.py` and `assignment.py`.

A config file is a Python file with a function `get_config()` that returns a `Config`; `configs/` holds one for each
experiment. The docstrings are what `--help` shows. Comments name the sections of docs/yolox.md that explain a default.
"""

import dataclasses
from typing import Annotated, Literal

from yolox_jax.config.assignment import AssignmentConfig, LossConfig
from yolox_jax.config.augment import AugmentConfig
from yolox_jax.config.ranges import (
    Ascending,
    AtLeast,
    Below,
    Count,
    CountOrZero,
    Fraction,
    MultiplesOf,
    NonNegative,
    NonZeroFraction,
    Positive,
)

Variant = Literal["yolox_nano", "yolox_tiny", "yolox_s", "yolox_m", "yolox_l", "yolox_x", "yolox_darknet53"]

STRIDE = 32
"""Largest stride of the network in px: input sizes are multiples of it."""

NUM_LEVELS = 3
"""Number of levels of the network, which predict objects of different sizes."""


class ConfigError(ValueError):
    """A setting is invalid; the message names it and says which values are valid."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network. The number of classes comes from the data."""

    variant: Variant = "yolox_s"
    """Variant of the network."""
    head: Literal["decoupled", "coupled"] = "decoupled"  # docs/roadmap.md
    """Head of the network. `decoupled`: one branch for classes and one for boxes, as in YOLOX. `coupled`: one branch
    for both, as in YOLOv3."""
    anchors: tuple[tuple[Positive, Positive], ...] = ()  # docs/roadmap.md
    """Anchor boxes, as width and height in px, from small to large: a third of them for each level. Empty: the network
    is anchor-free, as in YOLOX. They need `assignment.rule yolov3`."""
    end_to_end: bool = False  # docs/roadmap.md
    """Add a branch that selects one prediction for each object, so that inference needs no non-maximum suppression."""
    weights: str = ""
    """Weights to start from: a .pth, .safetensors or .npz file, a run directory, the name of published weights, such as
    `yolox_s`, or `published` for those of `model.variant`. Empty: train from scratch. Published weights are downloaded
    on first use. Tensors whose shapes do not match, such as the class predictions of another dataset, keep their random
    initialization and are listed."""
    rescale_filters: bool = False  # docs/yolox.md, 8.4
    """Rescale the filters of `model.weights` to the same norm, and their batch norm to match, so that the network
    computes the same but one learning rate suits all layers. The original does not do this."""
    freeze: tuple[str, ...] = ()
    """Parts of the network to freeze: `backbone`, `neck`, `head`, or names of weights. The names are those of the
    original's state dict, with `*` as a wildcard, such as `backbone.backbone.stem` or `head.stems.*`. The batch norm of
    frozen parts keeps its running statistics."""


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """One dataset: its format and where to find it."""

    format: Literal["coco", "voc", "yolo", "tfds", "shapes"] = "coco"
    """Annotation format of the dataset. `yolo`: a data.yaml and one text file of boxes per image, as Ultralytics writes
    them. `tfds`: a TensorFlow Datasets dataset prepared as ArrayRecord. `shapes`: the built-in synthetic dataset,
    generated on first use."""
    images: str = ""
    """Image folder. COCO: the folder of the images. VOC: the folder that contains Annotations, ImageSets and
    JPEGImages. YOLO: the folder that the paths in data.yaml are relative to; empty to use the one data.yaml names.
    TFDS: the folder of prepared datasets; empty for the library's default. Shapes: the folder to generate the images
    in; empty for the user's cache."""
    annotations: str = ""
    """Annotation file. COCO: the JSON file. YOLO: the data.yaml. TFDS: the name of the dataset, such as `coco/2017`.
    Unused by the other formats."""
    split: str = ""
    """Split of the dataset, for formats that have several. VOC: the image list, such as `train` for
    ImageSets/Main/train.txt. YOLO: `train`, `val` or `test`, a key of data.yaml. TFDS: a split such as `train` or
    `validation[:10%]`; `val` also finds `validation`. Shapes: `train` or `val`. Empty: `train` for training and `val`
    for evaluation."""
    fraction: NonZeroFraction = 1.0
    """Fraction of the images to use, spread evenly over the dataset."""
    difficult: Literal["use", "ignore"] = "use"  # docs/yolox.md, 9.3
    """What to do with objects marked as difficult (VOC, TFDS). `use` treats them like all others, as the original does.
    `ignore` excludes them from training and counts them neither for nor against detections in evaluation."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The datasets, the input size, and how images are loaded."""

    train: DatasetConfig = DatasetConfig()
    """Dataset to train on."""
    val: DatasetConfig = DatasetConfig()
    """Dataset to evaluate on."""
    more_train: tuple[DatasetConfig, ...] = ()
    """Additional datasets to train on, merged with `data.train`; classes with the same name become one. Set this in a
    config file."""
    more_val: tuple[DatasetConfig, ...] = ()
    """Additional datasets to evaluate on, merged with `data.val`. Set this in a config file."""
    classes: tuple[str, ...] = ()
    """Classes to use, in the order of the network's outputs. Objects of other classes are ignored; images left without
    objects are kept as background. Empty: all classes of the dataset."""
    input_size: Annotated[tuple[int, int], MultiplesOf(STRIDE)] = (640, 640)
    """Height and width of the network input in px, multiples of 32."""
    max_boxes: Count = 120  # docs/yolox.md, 7.5
    """Maximum number of objects per training image. If there are more, the largest are kept and the others are counted
    as dropped. The original silently keeps the first ones."""
    repeat_threshold: Fraction = 0.0  # docs/data.md
    """Repeat the images of rare classes within an epoch (repeat factor sampling, as for LVIS): an image is shown
    sqrt(this / f) times on average, where f is the fraction of the training images that have its rarest class, and once
    if this is not above f. 0 turns it off. `yolox-jax data check` proposes a value."""
    augment: AugmentConfig = AugmentConfig()
    """Random augmentation of training images."""
    num_workers: CountOrZero = 0
    """Number of worker processes for data loading. 0 loads in threads of the main process, which is enough for machines
    with few cores."""
    num_threads: Count = 4
    """Data loading threads per process."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Where to cache decoded training images, resized to the input size. `ram`: in memory shared by all workers.
    `disk`: in one file that later runs reuse."""
    cache_dir: str = ""
    """Folder of the disk cache; empty for the user's cache."""
    broken_images: Literal["skip", "stop"] = "skip"
    """What to do when an image cannot be read: skip and count it, or stop the run. Either way its path is logged."""


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


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training step, logging and checkpoints."""

    batch_size: Count = 64  # docs/yolox.md, 10.1
    """Total batch size across devices. The published weights were trained with 128."""
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
    deterministic: bool = False
    """Make repeated runs on GPUs bit-for-bit equal: use only kernels that always add in the same order, without
    autotuning. Slower. On CPUs, runs are always deterministic."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What to do when a loss or gradient is NaN or infinite: stop the run, or skip the step and count it. Overflows
    that are normal in float16 do not count. Either way the step does not change the weights, and its batch and image
    names are saved."""
    ema_decay: Annotated[float, AtLeast(0), Below(1)] = 0.9999  # docs/yolox.md, 10.1; the original's issue 735
    """Decay of the exponential moving average (EMA) of the weights. The original uses 0.9998; 0.9999 gives a higher AP
    at batch size 64."""
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
    """Number of recent checkpoints to keep for `--resume`, in addition to the one with the best AP. A checkpoint is
    saved at the end of each epoch and when a run is interrupted."""
    checkpoint_steps: CountOrZero = 0
    """Steps between additional checkpoints within an epoch; 0 turns them off."""
    checkpoint_minutes: NonNegative = 15.0
    """Minutes between additional checkpoints within an epoch; 0 turns them off."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:  # docs/yolox.md, 9.2 and 9.3
    """Post-processing and evaluation."""

    interval: Count = 10
    """Number of epochs between evaluations of the EMA weights. In the last `schedule.no_aug_epochs`, every epoch is
    evaluated."""
    batch_size: Count = 32
    """Batch size of the evaluation: images per step of each process, split over its devices."""
    patience: CountOrZero = 0
    """Early stopping: number of consecutive evaluations without a better AP after which the run stops; 0 turns it
    off."""
    score_threshold: Fraction = 0.01
    """Minimum score of a detection. Published results use 0.001."""
    iou_threshold: NonZeroFraction = 0.65
    """IoU threshold of non-maximum suppression."""
    nms: bool | None = None  # docs/roadmap.md
    """Whether to use non-maximum suppression, which must suit `model.end_to_end`. None: as the network needs."""
    max_detections: Count = 1000
    """Maximum number of detections per image."""
    num_pictures: CountOrZero = 8
    """Validation images to draw with their predictions at each evaluation."""
    losses: bool = True
    """Also compute the losses of the validation images, from the same pass of the network."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    assignment: AssignmentConfig = AssignmentConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: CountOrZero = 0
    """Random seed of the run: initial weights, order of the images and all augmentation."""
