"""`yolox-jax evaluate`: scores weights on the validation images of a config."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from yolox_jax.cli.progress import show_progress
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """What to score and what to write."""

    weights: Path
    """Weights to score: .pth, .safetensors, .npz, a run directory, or the name of published ones, such as yolox_s,
    which are fetched at their first use."""
    output: Path | None = None
    """JSON file for the figures."""
    detections: Path | None = None
    """JSON file for every detection, as COCO results."""


def main(argv: list[str]) -> None:
    """Evaluates; `argv` is the command line after `evaluate`."""
    arguments, config = parse_with_config(
        EvaluateArguments,
        argv,
        prog="yolox-jax evaluate",
        description="Score weights on the validation images of a config with the COCO metric.",
    )
    _check_writable("--output", arguments.output)
    _check_writable("--detections", arguments.detections)
    # Here, so that the help and wrong flags are answered before jax is loaded.
    import jax

    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.data.sources import open_datasets
    from yolox_jax.detector import Detector
    from yolox_jax.evaluation.report import name_mismatch, print_metrics
    from yolox_jax.evaluation.runner import check_classes, evaluate

    keep_compiled()
    dataset = open_datasets(config.data, "val")
    detector = Detector(
        config.model.variant,
        weights=fetch_if_published(arguments.weights),
        input_size=config.data.input_size,
        devices=jax.local_devices(),
    )
    check_classes(detector, dataset)
    for warning in (*dataset.warnings, *name_mismatch(detector.class_names, dataset)):
        print(f"warning: {warning}", file=sys.stderr)
    with show_progress("images") as on_progress:
        evaluation = evaluate(
            detector,
            dataset,
            config.evaluation,
            broken_images=config.data.broken_images,
            num_threads=config.data.num_threads,
            on_progress=on_progress,
        )
    print_metrics(evaluation.metrics, dataset)
    if arguments.output is not None:
        _write_json(arguments.output, evaluation.metrics.to_json(), indent=2)
    if arguments.detections is not None:
        _write_json(arguments.detections, evaluation.results)


def _check_writable(flag: str, path: Path | None) -> None:
    """Fail before the work rather than after it."""
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{flag} {path} is a folder: give the name of a JSON file")
    ensure_writable_folder(path.parent, f"the folder of {flag},")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{flag} {path} cannot be written to: the file is there and write-protected")


def _write_json(path: Path, value: Any, indent: int | None = None) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}")
