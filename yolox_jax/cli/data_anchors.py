"""`yolox-jax data anchors`: clusters anchor boxes for a dataset from the sizes of its objects."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from yolox_jax.cli.dataset_path import announce_datasets
from yolox_jax.cli.settings import CONFIG_OF_PATH, parse_with_config, requested_config
from yolox_jax.cli.terminal import say
from yolox_jax.config import NUM_LEVELS, Config, ConfigError
from yolox_jax.config.assignment import YOLOV3_ANCHORS
from yolox_jax.config.serialization import typed
from yolox_jax.files import check_writable_folder, ensure_writable_folder
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.anchor_sizes import AnchorFit, Anchors, Sizes
    from yolox_jax.data.dataset import Dataset

MOST_ANCHORS = 99
"""Maximum of `--count`, which keeps a typing error from filling the memory."""

USED_SETTINGS = (
    "data.train",
    "data.classes",
    "data.input_size",
    "data.tile",
    "data.tile_overlap",
    "data.empty_tiles",
    "data.augment.min_visible",
    "data.augment.min_final_side_px",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class AnchorArguments:
    """Which dataset to read, how many anchor boxes to cluster, and where to save the picture."""

    path: Annotated[Path | None, tyro.conf.Positional] = None
    """A dataset to read in place of that of the config: a data.yaml (YOLO), a COCO JSON file, or the folder of a YOLO,
    COCO, VOC or Roboflow dataset."""
    count: int = 9
    """Number of anchor boxes, a multiple of 3: a third of them for each level."""
    output: Path | None = None
    """Folder for anchors.json and anchors.png, a plot of the sizes of the objects with the anchor boxes. Existing files
    are replaced. By default nothing is written."""


def main(argv: list[str]) -> None:
    """Clusters and prints the anchor boxes; `argv` is the command line after `data anchors`."""
    arguments, config = parse_with_config(
        AnchorArguments,
        argv,
        prog="yolox-jax data anchors",
        description="Cluster anchor boxes for --model.anchors from the sizes of the training objects, and compare them "
        "with YOLOv3's, which were clustered on COCO. Only networks with --assignment.rule yolov3 have anchor boxes. "
        "Sizes are those after images are resized to fit --data.input-size, without augmentation. The same data and "
        "--seed give the same anchor boxes.",
        path_field="path",
        path_suffices=True,
        uses=USED_SETTINGS,
    )
    _check_count(arguments.count)
    if arguments.output is not None:
        check_writable_folder(arguments.output, "--output")
    height, width = config.data.input_size
    if arguments.path is not None:
        announce_datasets(arguments.path, config, ("train",))
        name = requested_config(argv) or CONFIG_OF_PATH
        say(f"settings of the config {name} (--data.input-size {height} {width}); pass --config for another")
    # Imported here, so that --help and errors in flags do not wait for NumPy and OpenCV.
    from yolox_jax.data.anchor_sizes import MOST_CLUSTERED, cluster_sizes, measure_fit
    from yolox_jax.data.sources import open_datasets

    dataset = open_datasets(config.data, "train")
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    sizes = _training_sizes(dataset, config)
    if len(sizes) > MOST_CLUSTERED:
        say(f"clustering {MOST_CLUSTERED} of {len(sizes)} boxes, drawn at random; the figures below are of all boxes")
    anchors = cluster_sizes(sizes, arguments.count, seed=config.seed)
    fits = {"these anchors": measure_fit(sizes, anchors), "YOLOv3's, of COCO": measure_fit(sizes, YOLOV3_ANCHORS)}
    _print_anchors(anchors, fits)
    if arguments.output is not None:
        from yolox_jax.report.anchor_boxes import write_anchor_boxes

        ensure_writable_folder(arguments.output, "--output")
        write_anchor_boxes(arguments.output, sizes, fits, input_size=config.data.input_size, dataset=dataset.name)
        print(f"wrote anchors.json and anchors.png to {arguments.output}")


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_ANCHORS or count % NUM_LEVELS:
        fewer = min(max(count // NUM_LEVELS, 1) * NUM_LEVELS, MOST_ANCHORS)
        choices = sorted({fewer, min(fewer + NUM_LEVELS, MOST_ANCHORS)})
        raise ConfigError(
            f"--count must be a multiple of {NUM_LEVELS} between {NUM_LEVELS} and {MOST_ANCHORS}, so that each level "
            f"has as many anchor boxes; got {count}. Pass {' or '.join(map(str, choices))}"
        )


def _training_sizes(dataset: "Dataset", config: Config) -> "Sizes":
    """Sizes of the boxes that training uses, at the input size; says how many they are."""
    from yolox_jax.data.doctor.annotations import sizes_to_train_on

    sizes = sizes_to_train_on(dataset, config.data)
    num_boxes = sum(len(record.boxes) for record in dataset.records)
    limit = config.data.augment.min_final_side_px
    height, width = config.data.input_size
    images = counted(len(dataset.records), "image")
    say(f"{counted(num_boxes, 'box')} in {images}, resized to fit {width}x{height} px (width x height)")
    if not len(sizes):
        raise ConfigError(
            f"no box exceeds {limit:g} px (--data.augment.min-final-side-px) at --data.input-size {height} {width}, so "
            "training would ignore them all. Pass a larger --data.input-size"
        )
    if ignored := num_boxes - len(sizes):
        say(f"without {counted(ignored, 'box')} with a side of at most {limit:g} px, which training ignores")
    return sizes


def _print_anchors(anchors: "Anchors", fits: dict[str, "AnchorFit"]) -> None:
    """Prints the anchor boxes, how well they fit, and what to paste."""
    from yolox_jax.data.anchor_sizes import POOR_IOU, STRIDES_PX, by_level

    print(f"\n{'anchor boxes':20}{'boxes nearest':>14}  width x height in px")
    shares = fits["these anchors"].level_shares
    for stride, share, level in zip(STRIDES_PX, shares, by_level(anchors), strict=True):
        sizes = ", ".join(f"{width:g}x{height:g}" for width, height in level)
        print(f"{f'stride {stride}':20}{share:>14.1%}  {sizes}")
    print(f"\n{'':20}{'mean best IoU':>14}{f'boxes below {POOR_IOU:g}':>18}")
    for name, fit in fits.items():
        print(f"{name:20}{fit.mean_best_iou:>14.4f}{fit.share_below:>18.1%}")
    print('\nin a config file, as settings of the model, with rule="yolov3" for the assignment:\n    anchors=(')
    for level in by_level(anchors):
        print(f"        {', '.join(map(str, level))},")
    print(f"    ),\non a command line:\n    --assignment.rule yolov3 --model.anchors {typed(anchors)}")
