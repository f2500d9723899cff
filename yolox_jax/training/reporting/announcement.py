"""What a run logs before it starts: the network, the devices, the datasets, and warnings about them."""

import logging

import jax

from yolox_jax.config import Config, OptimizerConfig, peak_learning_rate, with_optimizer
from yolox_jax.data.anchor_sizes import POOR_IOU, measure_fit
from yolox_jax.data.class_weights import class_weights
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.doctor.annotations import cheap_findings, sizes_to_train_on
from yolox_jax.data.hooks import NO_HOOKS, Hooks
from yolox_jax.data.image_order import ImageOrder, steps_per_epoch
from yolox_jax.models.summary import Summary
from yolox_jax.text import counted, shortened

logger = logging.getLogger("yolox_jax.training")

FEW_STEPS = 200
"""Runs with fewer steps are warned of if they fine-tune all layers as if training from scratch."""

MANY_POOR = 0.25
"""Anchor boxes are warned of if they fit more than this share of the boxes poorly. YOLOv3's fit 18 % of the boxes of
COCO poorly at 640x640 (docs/data.md)."""

MOST_LISTED = 10
"""Number of class weights that are logged."""


def announce(config: Config, summary: Summary, train_set: Dataset, val_set: Dataset, hooks: Hooks = NO_HOOKS) -> None:
    """Logs what is about to be trained, and warns about likely mistakes in the data."""
    logger.info(
        "%s: %.2f M parameters, %.2f GFLOPs at %dx%d, on %d %s",
        config.model.variant,
        summary.parameters / 1e6,
        summary.gflops,
        *config.data.input_size,
        jax.device_count(),
        jax.devices()[0].device_kind,
    )
    logger.info(
        "%speak learning rate %.3g (batch size %d)",
        "AdamW, " if config.optimizer.name == "adamw" else "",
        peak_learning_rate(config),
        config.train.batch_size,
    )
    _warn_of_rate_of_sgd(config.optimizer)
    for split, dataset in (("train", train_set), ("val", val_set)):
        boxes = sum(len(record.boxes) for record in dataset.records)
        logger.info(
            "%s: %s, %s, %s",
            split,
            counted(len(dataset.records), "image"),
            counted(boxes, "box", "boxes"),
            counted(len(dataset.class_names), "class", "classes"),
        )
        for warning in dataset.warnings:
            logger.warning("%s: %s", split, warning)
    if config.data.tile:
        images = {record.image_key for record in train_set.records}
        logger.info("train: tiles of up to %d px, of %s", config.data.tile, counted(len(images), "image"))
    _announce_repeats(config, train_set)
    _announce_class_weights(config, train_set)
    for stage, name in hooks.names.items():
        logger.info("train: own augmentation %s: %s", stage, name)
    if config.train.batch_size > len(train_set.records):
        logger.warning(
            "--train.batch-size %d is larger than the training set of %s: each batch repeats images. The peak learning "
            "rate is %.3g. Use a batch size of at most the number of images",
            config.train.batch_size,
            counted(len(train_set.records), "image"),
            peak_learning_rate(config),
        )
    for finding in cheap_findings(train_set, val_set, config.data):
        if finding.level != "note":
            logger.warning("%s", finding.sentence())
    if jax.process_index() == 0:  # the other processes have the same config
        _warn_of_poor_anchor_boxes(config, train_set)
        _warn_of_lost_features(config, steps_per_epoch(train_set.records, config))


def _warn_of_rate_of_sgd(optimizer: OptimizerConfig) -> None:
    """Warns if AdamW was chosen in a config file or in Python and the default learning rate kept."""
    usual = OptimizerConfig().lr_per_image
    if optimizer.name == "adamw" and optimizer.lr is None and optimizer.lr_per_image == usual:
        logger.warning(
            "optimizer.lr_per_image %g is that of SGD; AdamW usually needs %g. Use with_optimizer of "
            "yolox_jax.config, --optimizer.name adamw on the command line, or set optimizer.lr",
            usual,
            with_optimizer(OptimizerConfig(), "adamw").lr_per_image,
        )


def _announce_repeats(config: Config, train_set: Dataset) -> None:
    """Logs how many images an epoch has if those of rare classes are repeated."""
    threshold, num_images = config.data.repeat_threshold, len(train_set.records)
    if not threshold:
        return
    order = ImageOrder(train_set.records, threshold)
    if order.length == num_images:
        logger.warning(
            "--data.repeat-threshold %g repeats no image: no class is rare enough. Pass a larger one; yolox-jax data "
            "check proposes one if classes are rare",
            threshold,
        )
        return
    logger.info(
        "train: %d images an epoch: --data.repeat-threshold %g repeats %s, up to %.1f times",
        order.length,
        threshold,
        counted(int((order.factors > 1).sum()), "image"),
        order.factors.max(),
    )


def _announce_class_weights(config: Config, train_set: Dataset) -> None:
    """Logs the weights of the classes in the classification loss, largest first."""
    weights = class_weights(config.loss, train_set, config.data.repeat_threshold)
    if weights is not None:
        weighted = sorted(zip(weights, train_set.class_names, strict=True), key=lambda one: -one[0])
        each = shortened([f"{name} {weight:.3g}" for weight, name in weighted], MOST_LISTED)
        logger.info("train: weights of classes in the classification loss: %s", each)


def _warn_of_lost_features(config: Config, steps_per_epoch: int) -> None:
    """Warns if the first steps may lose what pretrained weights have learned, and the run is too short to recover."""
    steps, model = config.schedule.epochs * steps_per_epoch, config.model
    if model.weights and steps < FEW_STEPS and not (model.freeze or model.rescale_filters):
        logger.warning(
            "fine-tuning all layers in only %d steps: pretrained features may be lost. Use the fine-tuning recipe "
            "(--config finetune, or --model.rescale-filters True), freeze layers (--model.freeze backbone), or train "
            "for more epochs",
            steps,
        )


def _warn_of_poor_anchor_boxes(config: Config, train_set: Dataset) -> None:
    """Warns if the anchor boxes have other sizes than the objects, as after a change of the data or the input size."""
    if not config.model.anchors:
        return
    sizes = sizes_to_train_on(train_set, config.data)
    if not len(sizes):
        return
    fit = measure_fit(sizes, config.model.anchors)
    if fit.share_below > MANY_POOR:
        logger.warning(
            "train: %.0f %% of the boxes fit no anchor box at --data.input-size %d %d (best IoU below %g; mean %.3f). "
            "`yolox-jax data anchors` with the same data and input size prints --model.anchors that fit",
            100 * fit.share_below,
            *config.data.input_size,
            POOR_IOU,
            fit.mean_best_iou,
        )
