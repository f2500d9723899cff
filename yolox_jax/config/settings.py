"""Every setting of a run, as frozen dataclasses: what it means, its unit, its source, and whether it is sound.

A config file is a Python file with a function `get_config()` that returns a `Config`; `configs/` holds one for each
experiment. The docstrings are what `--help` shows; comments name the sections (A2.2, A4, ...) of the description of the
original implementation that they come from.
"""

import dataclasses
from typing import Literal

Variant = Literal["yolox_nano", "yolox_tiny", "yolox_s", "yolox_m", "yolox_l", "yolox_x", "yolox_darknet53"]

STRIDE = 32
"""Largest stride of the network in px: input sizes are multiples of it."""


class ConfigError(ValueError):
    """A setting that cannot work; the message names it and says what would."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network. The number of classes comes from the data."""

    variant: Variant = "yolox_s"
    """One of the seven published variants."""
    weights: str = ""
    """Start from these weights: .pth, .safetensors, .npz, a run directory, or the name of published ones, such as
    `yolox_s`, which are fetched. Tensors of another shape, such as the class predictions of another data set, are left
    fresh and listed. Empty: start from scratch."""
    freeze: tuple[str, ...] = ()
    """Parts that are not trained, by their names in the original's state dict, with `*` for any text: such as
    `backbone.backbone` or `head.stems.*`. Their batch norm keeps its running statistics."""


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Where one set of images and boxes lies."""

    format: Literal["coco", "voc", "yolo", "tfds", "shapes"] = "coco"
    """Layout of the annotations. `yolo` is a data.yaml with one text file of boxes an image, as Ultralytics writes it;
    `tfds` is a data set of TensorFlow Datasets prepared as ArrayRecord; `shapes` is the built-in generated data set,
    made on first use."""
    images: str = ""
    """COCO: folder of the images. VOC: folder that holds Annotations, ImageSets and JPEGImages. YOLO: folder that the
    paths in the data.yaml start from; empty for the one that it names itself. TFDS: folder of the prepared data sets;
    empty for the library's own. Shapes: folder to generate into; empty for one in the user's cache."""
    annotations: str = ""
    """COCO: the JSON file. YOLO: the data.yaml. TFDS: name of the data set, such as `coco/2017`. Not used by the other
    formats."""
    split: str = ""
    """VOC: the list to read, such as `train` for ImageSets/Main/train.txt. YOLO: `train`, `val` or `test`, a key of the
    data.yaml. TFDS: a split, such as `train` or `validation[:10%]`; `val` finds `validation`. Shapes: `train` or `val`.
    Empty for `train` or `val`, whichever is read."""
    fraction: float = 1.0
    """Share of the images that is used, spread evenly over the data set."""
    difficult: Literal["use", "ignore"] = "use"  # A5
    """VOC, TFDS: objects marked as difficult are used like any other, as the original does, or left out of training and
    counted neither for nor against detections in evaluation."""


@dataclasses.dataclass(frozen=True)
class AugmentConfig:  # A3
    """Random changes to training images."""

    mosaic_probability: float = 1.0
    """Share of training images that are mosaics of four; the others are one letterboxed image."""
    mosaic_geometry: Literal["centred", "corner"] = "centred"  # A0, A3.2
    """`centred`: zoom and rotate about the middle of the mosaic and drop boxes that are hardly visible, as for the
    published weights. `corner`: about its top-left corner, boxes unfiltered, as the original's main branch."""
    mosaic_scale: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest zoom of a mosaic."""
    degrees: float = 10.0
    """Largest rotation of a mosaic either way, in degrees."""
    translate: float = 0.1
    """Largest shift of a mosaic either way, as a fraction of the input size."""
    shear_degrees: float = 2.0
    """Largest shear of a mosaic along each axis either way, in degrees."""
    mixup_probability: float = 1.0
    """Share of mosaics that are blended with another image; 0 turns MixUp off."""
    mixup_scale: tuple[float, float] = (0.5, 1.5)
    """Smallest and largest zoom of the image blended in."""
    hsv_probability: float = 1.0
    """Share of images whose colour is changed."""
    hsv_gains: tuple[float, float, float] = (5.0, 30.0, 30.0)
    """Largest shift of hue (0..180), saturation and value (0..255) either way."""
    flip_probability: float = 0.5
    """Share of images that are mirrored left to right."""
    min_side_px: float = 2.0
    """Centred mosaics: a box stays if both sides exceed this, in px of the input."""
    min_visible: float = 0.2
    """Centred mosaics: a box stays if more than this share of its scaled area is visible."""
    max_aspect: float = 20.0
    """Centred mosaics: a box stays if its longer side is less than this many times its shorter one."""
    min_final_side_px: float = 1.0  # A3.4
    """A box is trained on if both sides exceed this after all augmentation, in px."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, at which size, and how they are loaded."""

    train: DatasetConfig = DatasetConfig(
        images="datasets/COCO/train2017", annotations="datasets/COCO/annotations/instances_train2017.json"
    )
    """Images to train on."""
    val: DatasetConfig = DatasetConfig(
        images="datasets/COCO/val2017", annotations="datasets/COCO/annotations/instances_val2017.json"
    )
    """Images to evaluate on."""
    more_train: tuple[DatasetConfig, ...] = ()
    """Further data sets to train on, joined to `data.train`; classes of the same name are the same. Given in a config
    file."""
    more_val: tuple[DatasetConfig, ...] = ()
    """Further data sets to evaluate on, joined to `data.val`. Given in a config file."""
    classes: tuple[str, ...] = ()
    """Names of the classes to train and evaluate on, in the order of the network's outputs. Objects of other classes
    are left out; images without any stay as background. Empty: all classes of the data."""
    input_size: tuple[int, int] = (640, 640)
    """Height and width of the network input in px, multiples of 32."""
    max_boxes: int = 120  # A3.4
    """Objects an image can hold in training; of more, the largest are kept, and the rest counted. The original keeps
    the first, silently."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes to training images."""
    num_workers: int = 0
    """Processes that load training images; 0 loads in threads of this process, which is enough on few cores."""
    num_threads: int = 4
    """Threads that load images in each process."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Keep training images decoded and resized to the input size, so that no JPEG is decoded in training: in memory
    that all loading processes share, or in one file on disk that later runs find again."""
    cache_dir: str = ""
    """Folder of the cache on disk; empty for one in the user's cache."""
    broken_images: Literal["skip", "stop"] = "skip"
    """What an unreadable training or validation image does: be skipped and counted, or stop the run. Either way it
    is named."""


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:  # A4
    """Length of the run and course of the learning rate."""

    epochs: int = 300
    """Passes over the training images."""
    warmup_epochs: float = 5.0
    """Epochs over which the learning rate rises from zero, quadratically."""
    no_aug_epochs: int = 15  # A3.7
    """Last epochs: no mosaic, no MixUp, L1 loss on, learning rate at its floor. The original runs one more than it
    says."""
    min_lr_ratio: float = 0.05
    """Floor of the learning rate as a share of its peak."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:  # A4
    """Stochastic gradient descent with Nesterov momentum."""

    lr_per_image: float = 0.01 / 64
    """Peak learning rate divided by the batch size."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 5e-4
    """Added to the gradient of convolution kernels, times the kernel; biases and batch norm have none."""
    clip_norm: float = 0.0
    """Gradients are scaled down to this norm where theirs is larger; 0 leaves them alone, as the original does."""


@dataclasses.dataclass(frozen=True)
class AssignmentConfig:  # A2.2
    """SimOTA label assignment."""

    center_radius: float = 1.5
    """Candidates of an object: anchors whose centre is closer than this to its centre along both axes, in strides."""
    max_dynamic_k: int = 10
    """Most anchors an object can have: the IoUs of its best candidates, this many, are summed to give their number."""
    iou_cost: float = 3.0
    """Weight of -log(IoU) in the cost of a pair; the classification cost has weight 1."""
    outside_cost: float = 1e6
    """Added to the cost of an anchor that is no candidate of the object."""


@dataclasses.dataclass(frozen=True)
class LossConfig:  # A2.3
    """Weights of the losses."""

    iou_weight: float = 5.0
    """Weight of 1 - IoU squared."""
    objectness_weight: float = 1.0
    """Weight of the objectness cross entropy."""
    classification_weight: float = 1.0
    """Weight of the class cross entropy."""
    l1_weight: float = 1.0
    """Weight of the L1 loss in the last `schedule.no_aug_epochs`; before them it is off."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the step runs and what it leaves behind."""

    batch_size: int = 64  # A0
    """Images a step, over all devices. The published weights used 128."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type the network computes in. Parameters, batch statistics, assignment and losses stay float32. float16 is for
    GPUs without bfloat16 (V100) and comes with a dynamic loss scale."""
    loss_scale: float = 65536.0  # A2.4
    """float16: first factor of the loss, which keeps small gradients from vanishing."""
    loss_scale_growth_steps: int = 2000
    """float16: the loss scale doubles after this many steps without an overflow; each overflow halves it, and its step
    changes nothing else."""
    sync_batch_norm: bool = False
    """Normalise over the images of all devices. The original normalises over those of each device alone."""
    accumulation_steps: int = 1
    """Parts into which each device splits its images, computed one after another to save memory. Gradients are those
    of the whole batch; batch norm sees a part at a time."""
    rematerialise: Literal["none", "stage"] = "none"
    """`stage` saves memory: the backward pass computes the features within each stage of the network (four of the
    backbone and its stem, each CSP layer of the neck, each level of the head) again instead of keeping them, which
    costs about another forward pass."""
    deterministic: bool = False
    """GPUs: use kernels alone that always add in the same order, and do not try which are fastest, so that two runs are
    equal bit for bit; slower. On CPUs they are anyway."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is not finite does, beyond the overflows that float16 expects: stop the run, or be
    skipped and counted. Either way the step changes no weight, and its batch and image names are kept."""
    ema_decay: float = 0.9999  # A0, and issue 735 of the original
    """Decay of the averaged weights; 0.9998 in the original, 0.9999 at batch 64."""
    ema_ramp_steps: float = 2000.0  # A4
    """The decay rises as 1 - exp(-step / this)."""
    multiscale_px: tuple[int, int] | None = (480, 800)
    """Smallest and largest input height drawn during training, in px, multiples of 32; None trains at one size."""
    multiscale_interval: int = 10
    """Steps between two draws of the size."""
    log_interval: int = 10
    """Steps between two lines of metrics."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ("tensorboard",)
    """Where figures and pictures are shown, besides metrics.jsonl, which is always written. `wandb` and `mlflow` are
    installed with the extra of that name: `pip install 'yolox-jax[wandb]'`."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints kept for `--resume`, beside that of the best evaluation. One is written at the end
    of each epoch, and where a run is interrupted."""
    checkpoint_steps: int = 0
    """Steps between two checkpoints within an epoch; 0 writes none for this reason."""
    checkpoint_minutes: float = 15.0
    """Minutes after which another checkpoint is written within an epoch; 0 writes none for this reason."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:  # A5
    """How detections are made and scored."""

    interval: int = 10
    """Epochs between two evaluations of the averaged weights; in the last `schedule.no_aug_epochs` every epoch has
    one."""
    batch_size: int = 32
    """Images a step of each process, split over its devices."""
    patience: int = 0
    """Evaluations in a row without a better AP after which training stops early; 0 never stops early."""
    score_threshold: float = 0.01
    """Detections below this score are dropped. Published figures use 0.001."""
    iou_threshold: float = 0.65
    """Of two boxes of one class that overlap more than this, non-maximum suppression keeps the better."""
    max_detections: int = 1000
    """Detections kept an image."""
    num_pictures: int = 8
    """Validation images drawn with their predictions at every evaluation."""
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
    seed: int = 0
    """Weights, order of the images and every random change follow from it."""
