"""What a run logs before it starts: the network, the devices, the datasets, and warnings about them."""

import logging

import jax

from yolox_jax.config import Config
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.doctor.annotations import cheap_findings
from yolox_jax.models.summary import Summary
from yolox_jax.text import counted

logger = logging.getLogger("yolox_jax.training")


def announce(config: Config, summary: Summary, train_set: Dataset, val_set: Dataset) -> None:
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
        "peak learning rate %.3g (batch size %d)",
        config.optimizer.lr_per_image * config.train.batch_size,
        config.train.batch_size,
    )
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
    if config.train.batch_size > len(train_set.records):
        logger.warning(
            "--train.batch-size %d is larger than the training set of %s: each batch repeats images, and the peak "
            "learning rate scales with the batch size, to %.3g. Use a batch size of at most the number of images",
            config.train.batch_size,
            counted(len(train_set.records), "image"),
            config.optimizer.lr_per_image * config.train.batch_size,
        )
    for finding in cheap_findings(train_set, val_set, config.data):
        if finding.level != "note":
            logger.warning("%s", finding.sentence())
