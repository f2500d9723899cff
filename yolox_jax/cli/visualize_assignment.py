"""`yolox-jax visualize-assignment`: draws which anchors the objects of training images get."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError
from yolox_jax.files import ensure_writable_folder, null_if_not_finite, write_json
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.dataset import Dataset
    from yolox_jax.models.yolox import YOLOX
    from yolox_jax.report.assigned_anchors import AssignedObject

ByWeights = list[tuple[str, "list[list[AssignedObject]]"]]
"""For each of the weights, their path and what the objects of each image get."""


@dataclasses.dataclass(frozen=True)
class AssignmentArguments:
    """Whose assignment to draw, of which images."""

    weights: Path
    """Weights that predict: .pth, .safetensors, .npz, a run directory, or the name of published ones."""
    compare: Path | None = None
    """Further weights of the same network, later in a training perhaps: drawn beside the first, with what changed."""
    output: Path = Path("runs/assignment")
    """Folder for a picture of each image and assignment.json with all numbers."""
    count: int = 8
    """Images to draw."""
    augmented: bool = False
    """Draw the first images that training sees, with mosaic and all, in place of whole images of the training set."""


class Shown(NamedTuple):
    """An image as the network gets it."""

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    """BGR."""
    boxes: Float[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px."""
    classes: Int[np.ndarray, " N"]
    size: tuple[int, int]
    """Height and width in px of what is not padding."""


def main(argv: list[str]) -> None:
    """Draws; `argv` is the command line after `visualize-assignment`."""
    arguments, config = parse_with_config(
        AssignmentArguments,
        argv,
        prog="yolox-jax visualize-assignment",
        description="Draw which anchors SimOTA gives to the objects of training images, under the averaged weights and "
        "statistics of a network, and write down at what cost.",
    )
    if arguments.count < 1:
        raise ConfigError(f"--count {arguments.count} cannot work: it must be 1 or more")
    if arguments.weights == arguments.compare:
        raise ConfigError(f"--compare {arguments.compare} names the same weights as --weights: give others")
    ensure_writable_folder(arguments.output, "--output:")
    # Here, so that the help and wrong flags are answered before jax is loaded.
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.data.sources import open_datasets
    from yolox_jax.report.assigned_anchors import change_of, summary_of
    from yolox_jax.weights import read_model

    keep_compiled()
    dataset = open_datasets(config.data, "train")
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    shown = (
        _augmented(dataset, config, arguments.count)
        if arguments.augmented
        else _whole(dataset, config, arguments.count)
    )
    runs: ByWeights = []
    for path in (arguments.weights, *([arguments.compare] if arguments.compare else [])):
        model, _ = read_model(fetch_if_published(path), config.model.variant)
        if model.num_classes != len(dataset.class_names):
            raise ConfigError(
                f"{path} has {model.num_classes} classes, but the training set {dataset.name} has "
                f"{len(dataset.class_names)}; give weights that were trained on it"
            )
        model.eval()
        runs.append((str(path), _assigned(model, shown, config)))
    _draw(arguments.output, shown, runs, dataset.class_names)
    everything = {path: [thing for objects in found for thing in objects] for path, found in runs}
    summaries = {path: summary_of(objects) for path, objects in everything.items()}
    change = change_of(*everything.values()) if arguments.compare else None
    document = _document(shown, runs, summaries, change, dataset.class_names)
    path = arguments.output / "assignment.json"
    write_json(path, null_if_not_finite(document))

    _print_figures(summaries, change)
    print(f"wrote {counted(len(shown), 'picture')} and {path.name} to {arguments.output}")


def _augmented(dataset: "Dataset", config: Config, count: int) -> list[Shown]:
    """The first images of training."""
    from yolox_jax.cli.data_preview import training_images

    seen = training_images(dataset, config, 1, count)
    return [
        Shown(f"training_{number:03d}", one.image, one.boxes, one.classes, config.data.input_size)
        for number, one in enumerate(seen)
    ]


def _whole(dataset: "Dataset", config: Config, count: int) -> list[Shown]:
    """Images with objects from all over the training set, letterboxed; those that cannot be read are left out."""
    from yolox_jax.data.image import BrokenImage, load_image
    from yolox_jax.data.letterbox import fitted_size, letterbox

    records = [record for record in dataset.records if len(record.boxes)]
    if not records:
        raise ConfigError(f"the training set {dataset.name} has no objects to assign anchors to")
    places = np.unique(np.linspace(0, len(records) - 1, count).round().astype(int)).tolist()
    shown: list[Shown] = []
    for record in (records[place] for place in places):
        try:
            image, ratio = letterbox(load_image(record), config.data.input_size)
        except BrokenImage as error:
            print(f"warning: {error.path}: {error.why}; left out", file=sys.stderr)
            continue
        size, _ = fitted_size((record.height, record.width), config.data.input_size)
        name = f"{len(shown):03d}_{record.path.stem}"
        shown.append(Shown(name, image, record.boxes * ratio, record.classes, size))
    if not shown:
        tried = counted(len(places), "image")
        raise ConfigError(f"none of {tried} of the training set {dataset.name} can be read")
    return shown


def _assigned(model: "YOLOX", shown: list[Shown], config: Config) -> "list[list[AssignedObject]]":
    """What the objects of each image get; image by image, so that any number fits the device."""
    from yolox_jax.report.assigned_anchors import assigned_anchors
    from yolox_jax.structures import padded_targets

    most = max(1, *(len(one.boxes) for one in shown))
    found = []
    for one in shown:
        targets = padded_targets([one.boxes], [one.classes], most)
        found += assigned_anchors(model, one.image[None], targets, config.assignment)
    return found


def _print_figures(summaries: dict[str, dict[str, float]], change: dict[str, int] | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", *map(escape, summaries))
    for key in next(iter(summaries.values())):
        values = [summary[key] for summary in summaries.values()]
        cells = ("-" if math.isnan(v) else f"{v:.3f}" if isinstance(v, float) else str(v) for v in values)
        table.add_row(key.replace("_", " "), *cells)
    Console(highlight=False).print(table)
    if change:
        print(
            f"matches: {change['kept']} kept, {change['gained']} gained, {change['lost']} lost; objects: "
            f"{change['objects_changed']} changed, {change['objects_left_without']} left without anchors, "
            f"{change['objects_no_longer_without']} no longer without"
        )


def _draw(folder: Path, shown: list[Shown], runs: ByWeights, class_names: tuple[str, ...]) -> None:
    from yolox_jax.report.assignment_pictures import dots_of, draw_assignment, draw_legend, scale_of

    for place, one in enumerate(shown):
        image = one.image[: one.size[0], : one.size[1]]
        panels = []
        for number, (path, found) in enumerate(runs):
            objects = found[place]
            dots = dots_of(objects, runs[0][1][place] if number else None)
            panels.append(draw_assignment(image, objects, dots, class_names, path))
        picture = np.concatenate(panels, axis=1)
        legend = draw_legend(picture.shape[1], scale_of(image), compared=len(runs) > 1)
        encoded = cv2.imencode(".png", np.concatenate([picture, legend]))[1]
        (folder / f"{one.name}.png").write_bytes(encoded.tobytes())


def _document(
    shown: list[Shown],
    runs: ByWeights,
    summaries: dict[str, dict[str, float]],
    change: dict[str, int] | None,
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """All numbers: for each image and object what it gets under each of the weights."""

    def entry(thing: "AssignedObject") -> dict[str, Any]:
        anchors = [anchor._asdict() for anchor in thing.anchors]
        return {"dynamic_k": thing.dynamic_k, "candidates": thing.candidates, "anchors": anchors}

    images = [
        {
            "name": one.name,
            "objects": [
                {
                    "class": class_names[thing.class_index],
                    "box": list(thing.box),
                    "assigned": {path: entry(found[place][number]) for path, found in runs},
                }
                for number, thing in enumerate(runs[0][1][place])
            ],
        }
        for place, one in enumerate(shown)
    ]
    return {"summary": summaries, **({"change": change} if change else {}), "images": images}
