"""Climbs the paper's roadmap on a dataset: trains every step from a YOLOv3 baseline to YOLOX, with several seeds.

The steps are those of table 2 of the paper, and OTA (docs/roadmap.md). They change the config given by --base, whose
augmentation is the strong one. Steps with anchor boxes take them from the sizes of the training objects, as `yolox-jax
data anchors` does. Each run is a process of its own; a study that was stopped continues with the same command.

The default is a small study: YOLOX-nano on generated shapes at 96x96 px for 12 epochs, about four minutes of CPU time
for each of 24 runs. Writes results.json, roadmap.md (a table) and roadmap.png to the folder given by --output.
"""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import describe_run
from common import write_json as write_result
from roadmap_report import PAPER, plot_steps, summarise_step, write_table
from study import Run, Study, run_program
from yolox_jax import create_model, summarize
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import load_config
from yolox_jax.config.roadmap import ladder
from yolox_jax.config.schedule import scale_schedule
from yolox_jax.data.anchor_sizes import cluster_sizes, measure_fit
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.doctor.annotations import sizes_to_train_on
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.at_path import datasets_at

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy")
NUM_ANCHORS = 9
"""Three for each level, as in YOLOv3."""


def main(argv: Sequence[str]) -> None:
    """Trains and reports; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    base = _base_config(arguments)
    dataset = open_datasets(base.data, "train")
    sizes = sizes_to_train_on(dataset, base.data)
    anchors = cluster_sizes(sizes, NUM_ANCHORS, seed=base.seed)
    steps = {name: config for name, config in ladder(base, anchors).items() if name in arguments.rows}
    study = Study(arguments.output, [Run(name, seed) for seed in arguments.seeds for name in steps])
    study.prepare(steps)
    result = describe_run(PACKAGES)
    result["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    result["anchors"] = {"sizes_px": anchors, "mean_best_iou": round(measure_fit(sizes, anchors).mean_best_iou, 4)}
    study.train_all(arguments.jobs)
    result["steps"] = [_summary(study, name, config, dataset) for name, config in steps.items()]
    write_result(arguments.output / "results.json", result)
    write_table(result, arguments.output / "roadmap.md")
    plot_steps(result, arguments.output / "roadmap.png")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="roadmap.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="quickstart", help="config of YOLOX to start from (default: quickstart)")
    parser.add_argument("--data", type=Path, help="dataset with a validation split, in place of that of the base")
    parser.add_argument("--images", default="", help="image folder of --data, if it cannot be found from it")
    parser.add_argument("--rows", nargs="+", choices=PAPER, default=list(PAPER), help="steps to train (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of each step (default: 0 1 2)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of each run (default: 12)")
    parser.add_argument(
        "--input-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=[96, 96],
        help="input size in px, of training too: multi-scale training is off (default: 96 96)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each on its share of the cores")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs and the results")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.jobs <= len(os.sched_getaffinity(0)):
        parser.error(f"--jobs must be between 1 and the number of cores, {len(os.sched_getaffinity(0))}")
    return arguments


def _base_config(arguments: argparse.Namespace) -> Config:
    """The base with the data, size and length of the study, evaluated in the last epochs alone."""
    base = load_config(arguments.base)
    data = dataclasses.replace(base.data, input_size=tuple(arguments.input_size))
    if arguments.data is not None:
        train, val = datasets_at(arguments.data, train_images=arguments.images, val_images=arguments.images)
        if val is None:
            raise ConfigError(f"--data {arguments.data} has no validation split, which the AP is measured on")
        data = dataclasses.replace(data, train=train, val=val, more_train=(), more_val=())
    config = dataclasses.replace(
        base,
        data=data,
        schedule=scale_schedule(base.schedule, arguments.epochs),
        train=dataclasses.replace(base.train, multiscale_px=None, loggers=(), keep_checkpoints=1),
        evaluation=dataclasses.replace(
            base.evaluation, interval=arguments.epochs, losses=False, patience=0, num_pictures=0
        ),
    )
    check_config(config)
    return config


def _summary(study: Study, step: str, config: Config, dataset: Dataset) -> dict[str, Any]:
    """The results of a step over its seeds."""
    model = summarize(create_model(config.model, len(dataset.class_names)), config.data.input_size)
    results = [_result(study, run) for run in study.runs if run.step == step]
    return summarise_step(step, results, parameters=model.parameters, gflops=model.gflops)


def _result(study: Study, run: Run) -> dict[str, Any]:
    evaluations = study.evaluations(run)
    steps = [record for record in study.records(run) if record["kind"] == "train"]
    rates = sorted(record["images_per_second"] for record in steps)
    return {
        "seed": run.seed,
        **{name: evaluations[-1][name] for name in ("AP", "AP50", "AP75")},
        "best_AP": max(evaluation["AP"] for evaluation in evaluations),
        "images_per_second": round(rates[len(rates) // 2], 2),
    }


if __name__ == "__main__":
    run_program(main)
