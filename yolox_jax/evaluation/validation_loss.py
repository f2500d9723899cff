"""The training losses of validation images: whether a network still learns, or only knows its training images."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from yolox_jax.config import AssignmentConfig, LossConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.inference.detector import Detector
from yolox_jax.losses import detection_loss
from yolox_jax.models.compiler_options import backend_options
from yolox_jax.structures import Targets, padded_targets

PARTS = ("iou", "objectness", "classification", "l1")
"""The parts of the loss, in the order of the columns of `ValidationLoss.sums`."""

SLOT_STEP = 8
"""The number of object slots is a multiple of this."""

NO_BOXES, NO_CLASSES = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)


class ValidationLoss:
    """Sums the losses of batches of validation images under the present weights of a detector.

    The images are seen without augmentation, by the network as it is used (averaged statistics, batch norm folded):
    compare them with each other over a training rather than with those of its batches.
    """

    def __init__(self, detector: Detector, dataset: Dataset, loss: LossConfig, assignment: AssignmentConfig) -> None:
        """`dataset` gives the objects; `loss` and `assignment` are the settings of the training."""
        self._detector, self._records = detector, dataset.records
        most = max((len(record.boxes) for record in dataset.records), default=0)
        self._num_slots = max(SLOT_STEP, -(-most // SLOT_STEP) * SLOT_STEP)
        self._per_image = _compiled(detector.network[0], loss, assignment)

    def sums(
        self,
        images: UInt8[np.ndarray, "B H W 3"],
        ratios: Float[np.ndarray, " B"],
        indices: Int[np.ndarray, " B"],
    ) -> Float[Array, "B 5"]:
        """The losses of each image of a batch; returns before the device is done.

        Args:
            images: BGR, letterboxed, as many as fit the detector.
            ratios: the factor by which letterboxing scaled each image.
            indices: place of each image among the records of the data set; -1 where there is no image.

        Returns:
            For each image the sums over its anchors of `PARTS`, and its number of foreground anchors.
        """
        batch = self._detector.placed((images, self._targets(ratios, indices)))
        return self._per_image(self._detector.network[1], *batch)

    def _targets(self, ratios: Float[np.ndarray, " B"], indices: Int[np.ndarray, " B"]) -> Targets:
        records = [self._records[index] if index >= 0 else None for index in indices.tolist()]
        return padded_targets(
            [NO_BOXES if one is None else one.boxes * ratio for one, ratio in zip(records, ratios, strict=True)],
            [NO_CLASSES if one is None else one.classes for one in records],
            self._num_slots,
        )


def mean_losses(sums: Float[np.ndarray, "N 5"]) -> dict[str, float]:
    """The losses of a data set, normalised as those of a batch: sums over all images by all foreground anchors.

    Args:
        sums: from `ValidationLoss.sums`, of the images that count.

    Returns:
        `PARTS`, each times its weight in training, and `loss`, the sum of all but `l1`, which training does without
        until its last epochs.
    """
    totals = sums.sum(axis=0, dtype=np.float64)
    means = dict(zip(PARTS, (totals[:-1] / max(totals[-1], 1.0)).tolist(), strict=True))
    return {"loss": means["iou"] + means["objectness"] + means["classification"], **means}


@functools.cache
def _compiled(graphdef: nnx.GraphDef, loss: LossConfig, assignment: AssignmentConfig) -> Callable[..., Any]:
    def of_images(state: Any, images: UInt8[Array, "B H W 3"], targets: Targets) -> Float[Array, "B 5"]:
        raw = nnx.merge(graphdef, state)(images.astype(jnp.float32))

        def of_image(raw: Float[Array, "A F"], targets: Targets) -> Float[Array, " 5"]:
            _, parts = detection_loss(
                raw[None],
                jax.tree.map(lambda array: array[None], targets),
                image_size=(images.shape[1], images.shape[2]),
                l1_weight=1.0,
                config=loss,
                assignment=assignment,
            )
            count = parts["num_foreground"]
            # Back to sums over anchors, which can be added up over images.
            return jnp.stack([*(parts[name] * jnp.maximum(count, 1.0) for name in PARTS), count])

        return jax.vmap(of_image)(raw, targets)

    return jax.jit(of_images, compiler_options=backend_options())
