"""Settings of label assignment and of the losses."""

import dataclasses
from typing import Annotated, Literal

from yolox_jax.config.ranges import Ascending, AtLeast, Below, Count, Fraction, NonNegative, Positive

YOLOV3_ANCHORS = (
    *((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    *((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    *((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
"""The anchor boxes of YOLOv3, clustered on COCO (arXiv 1804.02767, section 2.3): width and height in px, three for each
level of stride 8, 16 and 32."""

AssignmentRule = Literal["simota", "ota", "multi_positives", "centre", "yolov3"]


@dataclasses.dataclass(frozen=True)
class OTAConfig:  # docs/roadmap.md
    """Optimal transport assignment (OTA)."""

    center_radius: Positive = 2.5
    """An anchor is a candidate for an object if it lies inside its box and closer than this to its centre along both
    axes, in strides."""
    top_ious: Count = 20
    """Number of best IoUs among the candidates of an object whose sum is its supply of positive labels."""
    iou_cost: NonNegative = 1.5
    """Weight of -log(IoU) in the cost; the classification cost has weight 1."""
    outside_cost: NonNegative = 1e6
    """Added to the cost of an anchor that is not a candidate for the object."""
    focal_alpha: Fraction = 0.25
    """Weight of the positive class in the focal loss that is the classification cost."""
    focal_gamma: NonNegative = 2.0
    """Exponent of the focal loss."""
    entropy: Positive = 0.1
    """Weight of the entropy in the Sinkhorn iteration: smaller values give a harder plan."""
    iterations: Count = 50
    """Number of Sinkhorn iterations."""


@dataclasses.dataclass(frozen=True)
class AssignmentConfig:  # docs/yolox.md, 4
    """Label assignment."""

    rule: AssignmentRule = "simota"  # docs/roadmap.md
    """Which anchors are trained to predict an object. `simota`: the cheapest near its centre. `ota`: by optimal
    transport. `multi_positives`: the 3x3 cells about its centre, on the level of its size. `centre`: the cell of its
    centre alone. `yolov3`: the anchor box most similar in size, at the cell of its centre; needs `model.anchors`."""
    center_radius: Positive = 1.5
    """`simota`: an anchor is a candidate for an object if its centre is closer than this to the object's centre along
    both axes, in strides."""
    max_dynamic_k: Count = 10
    """`simota`: maximum number of anchors per object. The number is the sum of the IoUs of this many best
    candidates."""
    iou_cost: NonNegative = 3.0
    """`simota`: weight of -log(IoU) in the matching cost; the classification cost has weight 1."""
    outside_cost: NonNegative = 1e6
    """`simota`: added to the cost of an anchor that is not a candidate for the object."""
    level_sizes_px: Annotated[tuple[Count, Count], Ascending()] = (64, 128)
    """`centre` and `multi_positives`: longest side in px up to which an object belongs to the level of stride 8, and to
    that of stride 16; larger objects belong to stride 32."""
    ignored_iou: Fraction = 0.7
    """`yolov3`: the objectness loss ignores predictions that are not positive but overlap an object by more than this
    IoU."""
    one_to_one_iou_power: Fraction = 0.8
    """`model.end_to_end`: an object selects the prediction with the largest score^(1 - this) * IoU^this."""
    ota: OTAConfig = OTAConfig()
    """Settings of `ota`."""


@dataclasses.dataclass(frozen=True)
class LossConfig:  # docs/yolox.md, 5
    """Weights of the losses and of classes, focal loss and label smoothing."""

    iou_weight: NonNegative = 5.0
    """Weight of the IoU loss, 1 - IoU squared."""
    objectness_weight: NonNegative = 1.0
    """Weight of the binary cross-entropy of objectness."""
    classification_weight: NonNegative = 1.0
    """Weight of the binary cross-entropy of the classes."""
    l1_weight: NonNegative = 1.0
    """Weight of the L1 loss in the last `schedule.no_aug_epochs`; the loss is off before them."""
    one_to_one_weight: NonNegative = 1.0
    """Weight of the loss of the branch that `model.end_to_end` adds."""
    class_weights: tuple[str, ...] = ()  # docs/data.md
    """Weights of classes in the classification loss, against imbalance: NAME=WEIGHT for each class whose weight is not
    1, or `balanced` for weights inverse to the number of training objects. They are scaled to a mean of 1 over the
    training objects. Empty: all classes weigh the same. Validation losses do not use them."""
    balanced_limit: Annotated[float, AtLeast(1)] = 10.0
    """`loss.class_weights balanced`: largest weight of a class, as a multiple of that of the most frequent class."""
    classification_focal_gamma: Annotated[float, AtLeast(1)] | None = None  # docs/yolox.md, 5.1
    """Exponent of the focal loss, in the classification loss: predictions far from their target count more. RetinaNet
    uses 2. None: plain cross entropy."""
    classification_focal_alpha: Fraction | None = None
    """Weight of the target 1 in the classification loss, that of the target 0 being 1 minus this. RetinaNet uses 0.25.
    None: weight 1 for both."""
    objectness_focal_gamma: Annotated[float, AtLeast(1)] | None = None
    """`loss.classification_focal_gamma` for the objectness loss."""
    objectness_focal_alpha: Fraction | None = None
    """`loss.classification_focal_alpha` for the objectness loss."""
    label_smoothing: Annotated[float, AtLeast(0), Below(1)] = 0.0  # docs/yolox.md, 5.1
    """Fraction of the target of the classification loss that is spread evenly over all classes. Inception uses 0.1; 0
    turns it off."""
