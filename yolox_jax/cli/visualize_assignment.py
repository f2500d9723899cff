"""`yolox-jax visualize-assignment`: draws which anchors are assigned to the objects of training images."""

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
from yolox_jax.config.assignment import AssignmentRule
from yolox_jax.config.checks import check_anchor_boxes
from yolox_jax.config.levels import rule_problem
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.dataset import Dataset
    from yolox_jax.models import YOLOX
    from yolox_jax.report.assignment_report import AssignmentReport

USED_SETTINGS = (
    "model.variant",
    "model.strides",
    "model.anchors",
    "data.train",
    "data.classes",
    "data.input_size",
    "data.channels",
    "data.bits",
    "data.tile",
    "data.tile_overlap",
    "data.empty_tiles",
    "data.max_boxes",
    "data.repeat_threshold",
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
    rules: tuple[AssignmentRule, ...] = ()
    """Draw each image under several rules on one sheet, in place of the rule of the config: --rules yolov3 centre
    multi_positives simota ota. The weights must be those of an anchor-free network; yolov3 then takes the anchor boxes
    of COCO."""
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
        description="Draw which anchors are assigned to the objects of training images, and save them as JSON. "
        "Predictions are those of the EMA weights in evaluation mode.",
        uses=USED_SETTINGS,
        path_field="data",
        default_config=config_of_weights(argv),
        config_default=CONFIG_OF_WEIGHTS,
    )
    config = with_announced_data(config, arguments.data, "train")
    _check_arguments(arguments, config)
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.data.sources import open_datasets
    from yolox_jax.data.training_images import augmented_images, letterboxed_images
    from yolox_jax.report.assignment_report import assign_images, write_assignment_report
    from yolox_jax.training.step.drawing import images_of

    keep_compiled()
    dataset = open_datasets(config.data, "train")
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    weights = [arguments.weights, *([arguments.compare] if arguments.compare else [])]
    models, dataset = _read_models(weights, dataset, config)
    for model, one in zip(models, weights, strict=True):
        _check_network(model, one, config, arguments.rules)
    if arguments.augmented:
        images = augmented_images(dataset, config, 1, arguments.count, images_of)
    else:
        images = letterboxed_images(dataset, config.data.input_size, arguments.count)
    # A rule that is named twice is drawn once.
    rules = list(dict.fromkeys(arguments.rules)) or [config.assignment.rule]
    assignments = [
        assign_images(model, one, images, dataclasses.replace(config.assignment, rule=rule))
        for model, one in zip(models, weights, strict=True)
        for rule in rules
    ]
    report = write_assignment_report(
        arguments.output, images, assignments, dataset.class_names, by_rule=bool(arguments.rules)
    )
    _print_figures(report)
    if any(found.borrowed_boxes for found in assignments):
        print("yolov3: with the anchor boxes of COCO; IoUs are those of the anchor-free predictions of the same cells")
    print(f"wrote {counted(len(images), 'picture')} and assignment.json to {arguments.output}")


def _check_arguments(arguments: AssignmentArguments, config: Config) -> None:
    if arguments.count < 1:
        raise ConfigError(f"--count must be at least 1, got {arguments.count}")
    if not arguments.rules:
        check_anchor_boxes(config)
    if arguments.weights == arguments.compare:
        raise ConfigError(f"--compare {arguments.compare} names the same weights as --weights; pass other weights")
    if arguments.rules and arguments.compare:
        raise ConfigError("--rules draws one set of weights; pass --compare without it, or call the command twice")
    ensure_writable_folder(arguments.output, "--output")


def _read_models(weights: Sequence[str], dataset: "Dataset", config: Config) -> "tuple[list[YOLOX], Dataset]":
    """Reads the networks, and gives the dataset their classes."""
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.evaluation.classes import match_classes
    from yolox_jax.inference.options import resolve_class_names
    from yolox_jax.weights import read_model

    models, datasets = [], []
    for one in weights:
        model, metadata = read_model(fetch_if_published(one), config.model.variant, channels=config.data.channels)
        model.eval()
        names = resolve_class_names(None, metadata, model.num_classes)
        models.append(model)
        datasets.append(match_classes(names, dataset, are_stored="class_names" in metadata))
    if any(other.class_names != datasets[0].class_names for other in datasets):
        raise ConfigError(f"{weights[0]} and --compare {weights[1]} have different classes, or in a different order")
    return models, datasets[0]


def _check_network(model: "YOLOX", weights: str, config: Config, rules: Sequence[AssignmentRule]) -> None:
    """Checks that the network has the levels and the anchor boxes that the rules need, and no others."""
    for rule in rules or (config.assignment.rule,):
        if problem := rule_problem(model.strides, rule):
            raise ConfigError(f"{weights}: {problem}")
    own, wanted = model.anchor_boxes, config.model.anchors
    if rules and own:
        raise ConfigError(
            f"{weights} holds weights of a network with anchor boxes, which rule yolov3 alone assigns. Pass --rules "
            "with weights of an anchor-free network, or leave it out"
        )
    if rules or own == wanted:
        return
    if not own:
        raise ConfigError(
            f"{weights} holds weights of an anchor-free network, but the config has --model.anchors. Pass --rules "
            "yolov3 to draw that rule with the anchor boxes of COCO"
        )
    raise ConfigError(
        f"{weights} holds weights of a network with {len(own)} anchor boxes, but --model.anchors of the config "
        f"{'are others' if wanted else 'are none'}. Pass --config with the config that they were trained with"
    )


def _print_figures(report: "AssignmentReport") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", *map(escape, report.summaries))
    # Costs and ignored predictions are figures of some rules only.
    for key in dict.fromkeys(key for summary in report.summaries.values() for key in summary):
        values = [summary.get(key, math.nan) for summary in report.summaries.values()]
        cells = ("-" if math.isnan(v) else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values)
        table.add_row(key.replace("_", " "), *cells)
    Console(highlight=False).print(table)
    if change := report.change:
        print(
            f"matches: {change['kept']} kept, {change['gained']} gained, {change['lost']} lost; objects: "
            f"{change['objects_changed']} changed, {change['objects_left_without']} lost all anchors, "
            f"{change['objects_no_longer_without']} gained their first"
        )
