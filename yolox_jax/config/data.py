"""Settings of the datasets and of loading."""

import dataclasses
from typing import Annotated, Literal

from yolox_jax.config.augment import AugmentConfig
from yolox_jax.config.model import STRIDE
from yolox_jax.config.ranges import (
    AtLeast,
    Below,
    Count,
    CountOrZero,
    Fraction,
    MultiplesOf,
    NonNegative,
    NonZeroFraction,
)

PADDING = 114
"""Grey level of the padding of letterboxed images, as the published weights expect (docs/yolox.md, 7.2)."""

SCALE_OF_16_BITS = 257
"""65535 / 255: times this, a value of 8 bits is as bright in 16 bits."""


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
    tile: CountOrZero = 0  # docs/data.md
    """Cut training images larger than this into square tiles of this side in px, which count as images of their own. A
    tile has the boxes of which more than `data.augment.min_visible` lies in it. 0 turns it off. Validation images stay
    whole; `--tile` of `predict` and `evaluate` detects in tiles."""
    tile_overlap: Annotated[float, AtLeast(0), Below(1)] = 0.2
    """Smallest overlap of neighbouring tiles, as a fraction of their side. Objects up to this size are whole in one
    tile."""
    empty_tiles: NonNegative = 0.25
    """Number of tiles without objects to keep, for each tile with objects, spread evenly over the dataset. Tiles that
    show only smaller parts of objects are never kept."""
    channels: Count = 3  # docs/data.md
    """Number of channels of the images. With 3, files are read as colours, and with 1 as grey levels, whatever they
    hold. With more, as in a stack of spectral bands or an image with infrared or depth, each file must have as many."""
    bits: Literal[8, 16] = 8  # docs/data.md
    """Bits of a value in the images. 16 keeps those of PNG, TIFF and .npy files in training, evaluation and inference;
    files with 8 bits are scaled to the same brightness. The network sees values from 0 to 255 either way."""
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
