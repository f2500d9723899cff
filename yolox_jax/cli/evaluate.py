"""`yolox-jax evaluate`: computes the COCO metrics of weights on the validation images of a config."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yolox_jax.cli.dataset_path import DataPath, with_announced_data
from yolox_jax.cli.progress import show_progress
from yolox_jax.cli.published import OptionalWeightsPath, fetch_if_published
from yolox_jax.cli.run_config import CONFIG_OF_WEIGHTS, config_of_weights
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.cli.tiles import Tile, read_tile
from yolox_jax.config import Config, ConfigError
from yolox_jax.files import ensure_writable_folder, null_if_not_finite, write_json
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.dataset import Dataset
    from yolox_jax.evaluation import Evaluation

USED_SETTINGS = (
    "model.variant",
    "model.strides",
    "model.anchors",
    "model.end_to_end",
    "data.val",
    "data.classes",
    "data.input_size",
    "data.channels",
    "data.bits",
    "data.num_threads",
    "data.broken_images",
    "evaluation.batch_size",
    "evaluation.score_threshold",
    "evaluation.iou_threshold",
    "evaluation.nms",
    "evaluation.max_detections",
    "evaluation.best_by",
    "evaluation.losses",
    "assignment",
    "loss",
)


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """What to evaluate, and what to save."""

    weights: OptionalWeightsPath = None
    """Weights to evaluate: a .pth, .safetensors or .npz file, a run directory, or the name of published weights, such
    as yolox_s. Published weights are downloaded on first use. The config of the run, or of the published weights, is
    used unless --config is passed."""
    data: DataPath = None
    """Dataset to evaluate on, in place of that of the config: a data.yaml (YOLO), a COCO JSON file, or the folder of a
    YOLO, COCO, VOC or Roboflow dataset. Its validation split is used. Settings given as --data.val.* take
    precedence."""
    results: Path | None = None
    """Evaluate saved detections instead: a JSON file in the COCO results format. All of them count; the thresholds
    under --evaluation do not apply."""
    tile: Tile = None
    """For small objects in large images: detect in overlapping tiles of each image as well as in the whole, and merge
    the detections. The longer side of a tile in px of the image, or auto for that of the network's input. Images no
    larger than a tile are not cut."""
    overlap: float = 0.2
    """Smallest overlap of neighbouring tiles, as a fraction of their sides."""
    output: Path | None = None
    """JSON file for the metrics and everything else that `yolox-jax report` shows."""
    detections: Path | None = None
    """JSON file for all detections, in the COCO results format. For images without annotations (COCO test-dev), this is
    the only output."""
    voc: Literal["07", "10"] | None = None
    """Also compute the AP of Pascal VOC: 07 is the eleven-point AP of VOC2007, 10 the AP of VOC2010 and later."""


def main(argv: list[str]) -> None:
    """Evaluates; `argv` is the command line after `evaluate`."""
    arguments, config = parse_with_config(
        EvaluateArguments,
        argv,
        prog="yolox-jax evaluate",
        description="Compute the COCO metrics of weights on the validation images of a config or dataset.",
        uses=USED_SETTINGS,
        path_field="data",
        default_config=config_of_weights(argv),
        config_default=CONFIG_OF_WEIGHTS,
    )
    config = with_announced_data(config, arguments.data, "val")
    if (arguments.weights is None) == (arguments.results is None):
        raise ConfigError("pass either --weights, or --results with saved detections")
    tile = read_tile(arguments.tile, arguments.overlap, argv)
    if tile is not None and arguments.results is not None:
        raise ConfigError("--tile says how to detect, but --results are detections already; leave one of them out")
    _check_outputs(arguments, config)
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.evaluation import open_validation_data
    from yolox_jax.models import VARIANTS
    from yolox_jax.weights import find_weights, resolve

    if arguments.weights is not None and arguments.weights not in VARIANTS:  # published ones are downloaded later
        find_weights(resolve(arguments.weights))

    _evaluate_and_write(arguments, config, open_validation_data(config.data), tile)


def _evaluate_and_write(
    arguments: EvaluateArguments, config: Config, dataset: "Dataset", tile: int | Literal["auto"] | None
) -> None:
    annotated = bool(dataset.ground_truth["annotations"])
    if not annotated and arguments.detections is None:
        raise ConfigError(
            f"the dataset {dataset.name} has no annotations to evaluate against. Pass --detections FILE to save the "
            "detections, or a file with annotations as --data.val.annotations"
        )
    evaluation = _evaluate(arguments, config, dataset, tile)
    # Write files before printing, which may fail, and first the file that would be expensive to recompute.
    if arguments.detections is not None:
        write_json(arguments.detections, evaluation.results)
    if annotated:
        _write_and_print(arguments, config, dataset, evaluation)
    elif arguments.output is not None:
        print(f"did not write {arguments.output}: there are no annotations to evaluate against", file=sys.stderr)
    if arguments.detections is not None:
        print(f"wrote {arguments.detections}")


def _evaluate(
    arguments: EvaluateArguments, config: Config, dataset: "Dataset", tile: int | Literal["auto"] | None
) -> "Evaluation":
    if arguments.results is not None:
        return _evaluate_saved(arguments.results, dataset, some_classes=bool(config.data.classes))
    assert arguments.weights is not None
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.evaluation import evaluate

    keep_compiled()
    weights = fetch_if_published(arguments.weights)
    with show_progress("images") as on_progress:
        return evaluate(
            config,
            weights=weights,
            dataset=dataset,
            tile=tile,
            overlap=arguments.overlap,
            on_progress=on_progress,
        )


def _evaluate_saved(path: Path, dataset: "Dataset", *, some_classes: bool) -> "Evaluation":
    from yolox_jax.data.dataset import DataError
    from yolox_jax.evaluation import evaluate_results
    from yolox_jax.evaluation.saved_results import read_results

    results = read_results(path)
    if some_classes:
        kept = [result for result in results if result["category_id"] in dataset.category_ids]
        if len(kept) < len(results):
            print(f"ignored {counted(len(results) - len(kept), 'detection')} of classes not in --data.classes")
        results = kept
    try:
        return evaluate_results(dataset, results)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _write_and_print(
    arguments: EvaluateArguments, config: Config, dataset: "Dataset", evaluation: "Evaluation"
) -> None:
    """Writes the metrics, then prints them."""
    from yolox_jax.evaluation.analysis import analyse
    from yolox_jax.evaluation.best_by import best_by_value
    from yolox_jax.evaluation.console import print_metrics, print_voc
    from yolox_jax.evaluation.voc import voc_ap

    style, voc = arguments.voc, {}
    if style is not None:
        voc = voc_ap(dataset, evaluation.found, style=style, image_ids=evaluation.image_ids)
    if arguments.output is not None:
        source = str(arguments.weights if arguments.weights is not None else arguments.results)
        document = analyse(evaluation, dataset, config=config, weights=source)
        if style is not None:
            document[f"voc{style}"] = null_if_not_finite(voc)
        write_json(arguments.output, document)

    print_metrics(evaluation.metrics, dataset, evaluation.losses)
    best_by = config.evaluation.best_by
    if best_by not in evaluation.metrics.figures:
        print(f"{best_by}: {best_by_value(best_by, evaluation, dataset):.4f}")
    if style is not None:
        print_voc(voc, style)
    if arguments.output is not None:
        print(f"wrote {arguments.output}. Run `yolox-jax report {arguments.output}` to see it as a page")


def _check_outputs(arguments: EvaluateArguments, config: Config) -> None:
    """Checks that the output files can be written, and overwrite neither an input nor each other."""
    written = {"--output": arguments.output, "--detections": arguments.detections}
    annotations = {"--data.val.annotations": config.data.val.annotations}
    annotations |= {f"data.more_val[{n}].annotations": more.annotations for n, more in enumerate(config.data.more_val)}
    read = {"--weights": Path(arguments.weights) if arguments.weights else None, "--results": arguments.results}
    read |= {name: Path(path) for name, path in annotations.items() if path}
    for flag, path in written.items():
        if path is None:
            continue
        _check_writable(flag, path)
        for other, others_path in (read | written).items():
            if other != flag and others_path is not None and others_path.resolve() == path.resolve():
                raise ConfigError(f"{flag} {path} would overwrite {other} {others_path}; pass another file")


def _check_writable(flag: str, path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{flag} {path} is a folder; pass the name of a JSON file")
    ensure_writable_folder(path.parent, f"the folder of {flag},")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{flag} {path} cannot be written to: the file is write-protected")
