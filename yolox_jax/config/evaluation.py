"""Settings of post-processing and evaluation."""

import dataclasses

from yolox_jax.config.ranges import Count, CountOrZero, Fraction, NonZeroFraction


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:  # docs/yolox.md, 9.2 and 9.3
    """Post-processing and evaluation."""

    interval: Count = 10
    """Number of epochs between evaluations of the EMA weights. In the last `schedule.no_aug_epochs`, every epoch is
    evaluated."""
    batch_size: Count = 32
    """Batch size of the evaluation: images per step of each process, split over its devices."""
    best_by: str = "AP"  # docs/evaluation.md
    """Figure that decides which weights are the best, and by which `evaluation.patience` counts: a COCO figure such as
    `AP`, `AP50` or `AR_100`; `AP:NAME` for the AP of a class; `F1` at the score threshold where it is highest; or
    `recall@P` such as `recall@0.9` for the highest recall with a precision of at least P."""
    patience: CountOrZero = 0
    """Stop after this many evaluations in a row without a better one; 0: never. This is early stopping;
    `evaluation.best_by` decides what is better."""
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
