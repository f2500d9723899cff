"""The call of an evaluation for each batch: the detections and, from the same pass of the network, the losses."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt

from yolox_jax.config import EvaluationConfig
from yolox_jax.evaluation.validation_loss import ValidationLoss
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.tiled_detection import DetectRegions
from yolox_jax.structures import Detections


def detection_call(detector: Detector, config: EvaluationConfig, loss: ValidationLoss | None) -> DetectRegions:
    """Make a function of letterboxed images, their ratios, and their positions in the dataset (-1: not a whole image).

    It returns before the device is done: the detections, and the sums of the losses of each image, or None.
    """
    thresholds = detector.thresholds(config.score_threshold, config.iou_threshold)

    def detect(
        images: UInt[np.ndarray, "B H W C"], ratios: Float[np.ndarray, " B"], indices: Int[np.ndarray, " B"]
    ) -> tuple[Detections, Any]:
        return detector.network.detect(
            images,
            ratios,
            thresholds,
            max_detections=config.max_detections,
            raw_function=None if loss is None else loss.sums,
            raw_inputs=() if loss is None else loss.targets(ratios, indices),
        )

    return detect
