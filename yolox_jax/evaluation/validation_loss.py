"""Losses of the validation images: whether training still helps, or the network is overfitting."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from yolox_jax.config import AssignmentConfig, Config, LossConfig, ModelConfig
from yolox_jax.config.checks import check_anchor_boxes
from yolox_jax.data.dataset import Dataset
from yolox_jax.losses import detection_loss
from yolox_jax.structures import Targets, padded_targets

LOSS_NAMES = ("iou", "objectness", "classification", "l1", "one_to_one")
"""The parts of the loss, in the order of the columns of `LossSums`; the last for end-to-end networks only."""

SLOT_MULTIPLE = 8
"""The number of object slots is rounded up to a multiple of this."""

NO_BOXES, NO_CLASSES = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class LossSums:
    """Sums the losses of each image over its anchors; a `RawFunction` of the raw output and the targets."""

    loss: LossConfig
    assignment: AssignmentConfig
    anchors: tuple[tuple[float, float], ...] = ()
    end_to_end: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of the loss of this network."""
        return LOSS_NAMES if self.end_to_end else LOSS_NAMES[:-1]

    def __call__(
        self, raw: Float[Array, "B A F"], targets: Targets, image_size: tuple[int, int]
    ) -> Float[Array, "B N"]:
        """Compute the sums of `names` and the number of foreground anchors of each image.

        `one_to_one`, whose divisor is another, is not a sum but multiplied by the number of foreground anchors, so that
        its mean over the images is weighted by it.

        Args:
            raw: output of the network; of an end-to-end network with the logit of being the one as the last channel.
            targets: ground-truth objects, with boxes in pixels of the network input.
            image_size: height and width of the network input in px.
        """

        def of_image(raw: Float[Array, "A F"], targets: Targets) -> Float[Array, " N"]:
            _, parts = detection_loss(
                raw[None],
                jax.tree.map(lambda array: array[None], targets),
                image_size=image_size,
                l1_weight=1.0,
                config=self.loss,
                assignment=self.assignment,
                anchors=self.anchors,
                end_to_end=self.end_to_end,
            )
            count = parts["num_foreground"]
            # Sums over anchors can be added up over images, means cannot.
            return jnp.stack([*(parts[name] * jnp.maximum(count, 1.0) for name in self.names), count])

        return jax.vmap(of_image)(raw, targets)


class ValidationLoss:
    """The losses of a validation set: their settings, and the objects of its images as targets.

    They are computed with the network as used for inference: without augmentation, with the averaged statistics and
    with batch norm folded. So compare them with each other over a run, not with the training losses.
    """

    def __init__(self, dataset: Dataset, loss: LossConfig, assignment: AssignmentConfig, model: ModelConfig) -> None:
        """`dataset` provides the objects; `loss`, `assignment` and `model` are the settings of the run."""
        self._records = dataset.records
        self.sums = LossSums(loss, assignment, model.anchors, model.end_to_end)
        most = max((len(record.boxes) for record in dataset.records), default=0)
        self._num_slots = max(SLOT_MULTIPLE, -(-most // SLOT_MULTIPLE) * SLOT_MULTIPLE)

    def targets(self, ratios: Float[np.ndarray, " B"], indices: Int[np.ndarray, " B"]) -> Targets:
        """The objects of a batch of letterboxed images.

        Args:
            ratios: the factor by which letterboxing scaled each image.
            indices: index of each image in `dataset.records`; -1 for padding.
        """
        records = [self._records[index] if index >= 0 else None for index in indices.tolist()]
        return padded_targets(
            [NO_BOXES if one is None else one.boxes * ratio for one, ratio in zip(records, ratios, strict=True)],
            [NO_CLASSES if one is None else one.classes for one in records],
            self._num_slots,
        )


def mean_losses(sums: Float[np.ndarray, "B N"]) -> dict[str, float]:
    """Compute the losses of a dataset as if it were one batch: sums over all images, divided by all foreground anchors.

    Args:
        sums: from `LossSums`, one row per image.

    Returns:
        The losses of the columns, by their names in `LOSS_NAMES`, each multiplied by its weight in training, and
        `loss`, their sum. It excludes `l1`, which training adds only in the last epochs.
    """
    totals = sums.sum(axis=0, dtype=np.float64)
    means = dict(zip(LOSS_NAMES, (totals[:-1] / max(totals[-1], 1.0)).tolist(), strict=False))
    loss = means["iou"] + means["objectness"] + means["classification"] + means.get("one_to_one", 0.0)
    return {"loss": loss, **means}


def validation_loss(config: Config, dataset: Dataset) -> ValidationLoss | None:
    """The loss to compute in an evaluation; None if `evaluation.losses` is off or there are no annotations.

    It is that of training without the weights of classes, which depend on a training set: all objects count alike, so
    that runs with different weights can be compared.

    Raises:
        ConfigError: the assignment rule needs anchor boxes, and there are none.
    """
    if not config.evaluation.losses or not dataset.ground_truth["annotations"]:
        return None
    check_anchor_boxes(config)
    loss = dataclasses.replace(config.loss, class_weights=())
    return ValidationLoss(dataset, loss, config.assignment, config.model)
