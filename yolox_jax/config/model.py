"""Settings of the network."""

import dataclasses
from typing import Literal

from yolox_jax.config.ranges import Positive

Variant = Literal["yolox_nano", "yolox_tiny", "yolox_s", "yolox_m", "yolox_l", "yolox_x", "yolox_darknet53"]

STRIDES = (8, 16, 32)
"""Strides in px of the three levels of YOLOX, which predict objects of different sizes."""

STRIDE = STRIDES[-1]
"""Largest stride of YOLOX in px: input sizes are multiples of it."""

NUM_LEVELS = len(STRIDES)
"""Number of levels of YOLOX."""

LEVELS = (STRIDES, (4, *STRIDES), (*STRIDES, 64), (4, *STRIDES, 64))
"""The strides that a network can have."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network. The number of classes comes from the data."""

    variant: Variant = "yolox_s"
    """Variant of the network."""
    head: Literal["decoupled", "coupled"] = "decoupled"  # docs/roadmap.md
    """Head of the network. `decoupled`: one branch for classes and one for boxes, as in YOLOX. `coupled`: one branch
    for both, as in YOLOv3."""
    strides: tuple[int, ...] = STRIDES  # docs/yolox.md, 2.9
    """Strides of the levels in px: `8 16 32`, as in YOLOX. `4` in front adds a level for small objects, `64` at the end
    one for large objects, with which input sizes must be multiples of 64."""
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
