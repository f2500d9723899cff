"""`yolox-jax data suspects`: finds annotations that a trained detector contradicts."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolox_jax.cli.dataset_path import DataPath, with_announced_data
from yolox_jax.cli.progress import show_progress
from yolox_jax.cli.published import OptionalWeightsPath, fetch_if_published
from yolox_jax.cli.run_config import CONFIG_OF_WEIGHTS, config_of_weights
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config, ConfigError
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.dataset import Dataset

USED_SETTINGS = (
    "model.variant",
    "model.strides",
    "model.anchors",
    "model.end_to_end",
    "data.train",
    "data.val",
    "data.classes",
    "data.input_size",
    "data.channels",
    "data.bits",
    "data.num_threads",
    "data.broken_images",
    "evaluation.batch_size",
    "evaluation.iou_threshold",
    "evaluation.nms",
    "evaluation.max_detections",
)


@dataclasses.dataclass(frozen=True)
class SuspectsArguments:
    """Whose annotations to compare with which detector, and where to save the result."""

    weights: OptionalWeightsPath = None
    """Weights of the detector, with the classes of the data: a .pth, .safetensors or .npz file, a run directory, or the
    name of published weights, such as yolox_s. The detector may have been trained on these images, best for few
    epochs."""
    data: DataPath = None
    """Dataset to search, in place of that of the config: a data.yaml (YOLO), a COCO JSON file, or the folder of a YOLO,
    COCO, VOC or Roboflow dataset."""
    split: Literal["train", "val"] = "train"
    """The images to search: those for training or those for validation."""
    kinds: tuple[Literal["missing", "wrong-class", "misplaced", "spurious"], ...] = (
        "missing",
        "wrong-class",
        "misplaced",
        "spurious",
    )
    """What to look for: objects without an annotation, wrong classes, misplaced boxes, annotations without an
    object."""
    score_threshold: float | None = None
    """Minimum score of a detection that may contradict an annotation. By default, the one with the best F1 on these
    images, at most 0.5."""
    top: int = 40
    """Number of suspects of each kind to draw, the most suspicious ones. The JSON file lists all."""
    output: Path = Path("runs/data-suspects")
    """Folder for the page, suspects.json and the contact sheets; those of an earlier search are replaced."""


def main(argv: list[str]) -> None:
    """Searches; `argv` is the command line after `data suspects`."""
    arguments, config = parse_with_config(
        SuspectsArguments,
        argv,
        prog="yolox-jax data suspects",
        description="Find annotations that a trained detector contradicts: missing ones, wrong classes, misplaced and "
        "spurious boxes. They are ranked by one score.",
        uses=USED_SETTINGS,
        path_field="data",
        default_config=config_of_weights(argv),
        config_default=CONFIG_OF_WEIGHTS,
    )
    config = with_announced_data(config, arguments.data, arguments.split)
    _check(arguments)
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.data.sources import open_datasets
    from yolox_jax.models import VARIANTS
    from yolox_jax.report.suspects import write_suspects
    from yolox_jax.weights import find_weights, resolve

    assert arguments.weights is not None
    if arguments.weights not in VARIANTS:  # published ones are downloaded later
        find_weights(resolve(arguments.weights))
    # Whole images: the annotations are theirs, not those of the tiles that the run was trained on.
    dataset = open_datasets(dataclasses.replace(config.data, tile=0), arguments.split)
    for warning in dataset.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not dataset.ground_truth["annotations"]:
        raise ConfigError(
            f"the dataset {dataset.name} has no annotations to search. Pass annotations as "
            f"--data.{arguments.split}.annotations, or make some with predict"
        )
    document = _search(arguments, config, dataset)
    with show_progress("pictures") as on_progress:
        page = write_suspects(document, dataset.records, arguments.output, top=arguments.top, on_progress=on_progress)
    _print_outcome(document, page)


def _check(arguments: SuspectsArguments) -> None:
    from yolox_jax.evaluation.suspects import LOWEST_DETECTION_SCORE

    if arguments.weights is None:
        raise ConfigError("pass the weights of a trained detector as --weights, such as --weights runs/mine")
    threshold = arguments.score_threshold
    if threshold is not None and not LOWEST_DETECTION_SCORE <= threshold <= 1:
        raise ConfigError(f"--score-threshold must be between {LOWEST_DETECTION_SCORE} and 1, got {threshold}")
    if arguments.top < 1:
        raise ConfigError(f"--top must be at least 1, got {arguments.top}")
    if not arguments.kinds:
        raise ConfigError("--kinds is empty: name at least one kind, or leave it out for all")
    ensure_writable_folder(arguments.output, "--output")


def _search(arguments: SuspectsArguments, config: Config, dataset: "Dataset") -> dict[str, Any]:
    """Detects objects in all images, and describes the suspects of the kinds asked for."""
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.evaluation.suspects_document import describe_suspects
    from yolox_jax.evaluation.suspects_search import search_suspects

    keep_compiled()
    assert arguments.weights is not None
    weights = fetch_if_published(arguments.weights)
    with show_progress("images") as on_progress:
        search = search_suspects(
            config, weights, dataset, score_threshold=arguments.score_threshold, on_progress=on_progress
        )
    return describe_suspects(
        [suspect for suspect in search.suspects if suspect.kind in arguments.kinds],
        dataset,
        search.found,
        image_ids=search.image_ids,
        score_threshold=search.score_threshold,
        weights=arguments.weights,
    )


def _print_outcome(document: dict[str, Any], page: Path) -> None:
    """Prints how many suspects of which kind there are, and where the page is."""
    where = f"{counted(document['num_annotations'], 'annotation')} of {counted(document['num_images'], 'image')}"
    threshold = f"detections with a score of at least {document['score_threshold']:.3f}"
    if document["suspects"]:
        counts = ", ".join(f"{count} {kind}" for kind, count in document["counts"].items() if count)
        print(f"{counted(len(document['suspects']), 'suspect')} among {where} (by {threshold}): {counts}")
    else:
        print(
            f"no suspects among {where} (by {threshold}). A lower --score-threshold also trusts detections that are "
            "less certain"
        )
    print(f"wrote {page}, with all suspects in suspects.json and contact sheets as PNG beside it")
