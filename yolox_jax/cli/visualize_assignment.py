"""`yolox-jax visualize-assignment`: draws which anchors SimOTA assigns to the objects of training images."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_jax.cli.dataset_path import DataPath, with_announced_data
from yolox_jax.cli.published import OptionalWeightsPath, WeightsPath
from yolox_jax.cli.run_config import CONFIG_OF_WEIGHTS, config_of_weights
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.dataset import Dataset
    from yolox_jax.models import YOLOX
    from yolox_jax.report.assignment_report import AssignmentReport

USED_SETTINGS = (
    "model.variant",
    "data.train",
    "data.classes",
    "data.input_size",
    "data.max_boxes",
    "data.augment",
    "assignment",
    "train.batch_size",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class AssignmentArguments:
    """Which weights and images to use."""

    weights: WeightsPath
    """Weights of the network: a .pth, .safetensors or .npz file, a run directory, or the name of published weights. The
    config of the run is used unless --config is passed."""
    data: DataPath = None
    """Dataset whose training images are used, in place of that of the config: a data.yaml (YOLO), a COCO JSON file, or
    the folder of a YOLO, COCO, VOC or Roboflow dataset. Settings given as --data.train.* take precedence."""
    compare: OptionalWeightsPath = None
    """Other weights of the same network, for example from later in training. Their assignment is drawn next to the
    first, with the differences marked."""
    output: Path = Path("runs/assignment")
    """Folder for one picture per image, and assignment.json with all numbers."""
    count: int = 8
    """Number of images."""
    augmented: bool = False
    """Draw the first images of training, with mosaic and all other augmentation, instead of letterboxed images."""


def main(argv: list[str]) -> None:
    """Draws the assignment; `argv` is the command line after `visualize-assignment`."""
    arguments, config = parse_with_config(
        AssignmentArguments,
        argv,
        prog="yolox-jax visualize-assignment",
        description="Draw which anchors SimOTA assigns to the objects of training images, and save their costs as "
        "JSON. Predictions are those of the EMA weights in evaluation mode.",
        uses=USED_SETTINGS,
        path_field="data",
        default_config=config_of_weights(argv),
        config_default=CONFIG_OF_WEIGHTS,
    )
    config = with_announced_data(config, arguments.data, "train")
    if arguments.count < 1:
        raise ConfigError(f"--count must be at least 1, got {arguments.count}")
    if config.assignment.rule != "simota":  # the others have no costs or candidates that compare
        raise ConfigError(
            f"only the assignment of SimOTA can be drawn, but --assignment.rule is {config.assignment.rule}. To draw "
            "what SimOTA would assign with the same weights, pass --assignment.rule simota"
        )
    if arguments.weights == arguments.compare:
        raise ConfigError(f"--compare {arguments.compare} names the same weights as --weights; pass other weights")
    ensure_writable_folder(arguments.output, "--output")
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.data.sources import open_datasets
    from yolox_jax.data.training_images import augmented_images, letterboxed_images
    from yolox_jax.report.assignment_report import assign_images, write_assignment_report

    keep_compiled()
    dataset = open_datasets(config.data, "train")
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    weights = [arguments.weights, *([arguments.compare] if arguments.compare else [])]
    models, dataset = _read_models(weights, dataset, config)
    if arguments.augmented:
        images = augmented_images(dataset, config, 1, arguments.count)
    else:
        images = letterboxed_images(dataset, config.data.input_size, arguments.count)
    assignments = [
        assign_images(model, one, images, config.assignment) for model, one in zip(models, weights, strict=True)
    ]
    report = write_assignment_report(arguments.output, images, assignments, dataset.class_names)
    _print_figures(report)
    print(f"wrote {counted(len(images), 'picture')} and assignment.json to {arguments.output}")


def _read_models(weights: Sequence[str], dataset: "Dataset", config: Config) -> "tuple[list[YOLOX], Dataset]":
    """Reads the networks, and gives the dataset their classes."""
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.evaluation.classes import match_classes
    from yolox_jax.inference.options import resolve_class_names
    from yolox_jax.weights import read_model

    models, datasets = [], []
    for one in weights:
        model, metadata = read_model(fetch_if_published(one), config.model.variant)
        model.eval()
        names = resolve_class_names(None, metadata, model.num_classes)
        models.append(model)
        datasets.append(match_classes(names, dataset, are_stored="class_names" in metadata))
    if any(other.class_names != datasets[0].class_names for other in datasets):
        raise ConfigError(f"{weights[0]} and --compare {weights[1]} have different classes, or in a different order")
    return models, datasets[0]


def _print_figures(report: "AssignmentReport") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", *map(escape, report.summaries))
    for key in next(iter(report.summaries.values())):
        values = [summary[key] for summary in report.summaries.values()]
        cells = ("-" if math.isnan(v) else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values)
        table.add_row(key.replace("_", " "), *cells)
    Console(highlight=False).print(table)
    if change := report.change:
        print(
            f"matches: {change['kept']} kept, {change['gained']} gained, {change['lost']} lost; objects: "
            f"{change['objects_changed']} changed, {change['objects_left_without']} lost all anchors, "
            f"{change['objects_no_longer_without']} gained their first"
        )
