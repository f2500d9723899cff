"""Evaluation from a config and weights: what `yolox-jax evaluate` does, for use from Python."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import jax

from yolox_jax.config import Config, ConfigError, DataConfig
from yolox_jax.config.serialization import typed
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.sources import open_datasets, use_dataset
from yolox_jax.evaluation.classes import match_classes
from yolox_jax.evaluation.runner import Evaluation, evaluate_detector
from yolox_jax.evaluation.tiles import cut_objects
from yolox_jax.evaluation.validation_loss import validation_loss
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.options import resolve_class_names
from yolox_jax.models.yolox import YOLOX
from yolox_jax.weights import read_model
from yolox_jax.weights.description import describe_model

logger = logging.getLogger(__name__)


def evaluate(
    config: Config,
    *,
    weights: str | Path,
    dataset: Dataset | None = None,
    tile: int | Literal["auto"] | None = None,
    overlap: float = 0.2,
    devices: Sequence[jax.Device] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score weights on the validation images of a config with the COCO metric.

    >>> evaluation = yolox_jax.evaluate(config, weights="runs/x")  # doctest: +SKIP
    >>> evaluation.metrics.figures["AP"]  # doctest: +SKIP
    0.4051

    The classes of weights and dataset are matched by name. The logger `yolox_jax` warns about oddities in the dataset,
    and about classes that are not the same in the same order.

    Args:
        config: provides the dataset, the variant, the input size, and the settings of the evaluation.
        weights: a .pth, .safetensors or .npz file, a run directory, or the name of published weights, such as yolox_s,
            which are downloaded on first use.
        dataset: an open dataset to use instead of the one in the config, such as one of `yolox_jax.make_dataset`;
            `data.classes` selects its classes too.
        tile: detect in overlapping tiles of large images as well as in the whole images, see `Detector`. Warns if the
            tiles cut most objects of a class. The losses are those of the whole images.
        overlap: of neighbouring tiles, see `Detector`.
        devices: devices of this process to split each batch over; by default all of them.
        on_progress: called with the number of images done and the total: before the first batch, whose
            compilation takes longest, and after each batch.

    Returns:
        The twelve COCO figures and AP per class (`metrics`), every detection as a COCO result (`results`), and the
        losses, unless `evaluation.losses` is off or there are no annotations (`losses`). Without annotations, all
        figures are NaN.

    Raises:
        ConfigError: a setting is invalid, the weights belong to another network, or the dataset has classes that the
            weights do not have.
        DataError: the annotations cannot be read or contain errors.
        FileNotFoundError: there are no such weights.
        WeightsError: the weights cannot be read or downloaded.
        BrokenImage: an image cannot be read, and `data.broken_images` is `stop`.
    """
    if dataset is None:
        dataset = open_validation_data(config.data)
    else:
        dataset = use_dataset(dataset, config.data, "val", argument="dataset")
    model, metadata = read_model(weights, config.model.variant, channels=config.data.channels)
    _check_network(model, config, weights)
    class_names = resolve_class_names(None, metadata, model.num_classes)
    matched = match_classes(class_names, dataset, are_stored="class_names" in metadata)
    detector = Detector(
        model=model,
        class_names=class_names,
        keep_classes=[index for index, category in enumerate(matched.category_ids) if category in dataset.category_ids],
        input_size=config.data.input_size,
        nms=config.evaluation.nms,
        tile=tile,
        overlap=overlap,
        devices=jax.local_devices() if devices is None else devices,
    )
    if detector.tiling is not None and (warning := cut_objects(dataset, detector.tiling)):
        logger.warning("%s", warning)
    if on_progress is not None:
        on_progress(0, len(range(jax.process_index(), len(dataset.records), jax.process_count())))
    return evaluate_detector(
        detector,
        dataset,
        config.evaluation,
        broken_images=config.data.broken_images,
        num_threads=config.data.num_threads,
        loss=validation_loss(config, matched),
        category_ids=matched.category_ids,
        on_progress=on_progress,
    )


def _check_network(model: YOLOX, config: Config, weights: str | Path) -> None:
    """Check that the weights are those of the network in the config, whose losses differ from those of others."""
    if model.end_to_end != config.model.end_to_end:
        raise ConfigError(
            f"{weights} holds weights of {describe_model(model)}, but --model.end-to-end is {config.model.end_to_end}. "
            f"Pass --model.end-to-end {model.end_to_end}, or the config of the run as --config"
        )
    if model.strides != config.model.strides:
        raise ConfigError(
            f"{weights} holds weights of {describe_model(model)}, but --model.strides is "
            f"{typed(config.model.strides)}. Pass --model.strides {typed(model.strides)}, or the config of the run as "
            "--config"
        )
    if model.anchor_boxes != config.model.anchors:
        raise ConfigError(
            f"{weights} holds weights of {describe_model(model)}, whose anchor boxes are not those of --model.anchors. "
            "Pass the config of the run as --config"
        )


def open_validation_data(config: DataConfig) -> Dataset:
    """Open the validation images and annotations of a config, and log the warnings about them.

    Raises:
        ConfigError: a setting is invalid.
        DataError: the annotations cannot be read or contain errors.
    """
    dataset = open_datasets(config, "val")
    for warning in dataset.warnings:
        logger.warning("%s", warning)
    return dataset
