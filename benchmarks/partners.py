"""Compares the AP of partners from the dataset with that of partners from the batch, on two small datasets.

`shapes`: YOLOX-nano from scratch on generated shapes at 96x96 px for 12 epochs. `bccd`: the published YOLOX-nano,
fine-tuned on blood cells at 320x320 px for 5 epochs. Every sample of the augmented epochs is a mosaic with MixUp, where
the two modes differ most. Each run is a process of its own; a study that was stopped continues with the same command.
Writes results.json and partners.md, a table, to the folder given by --output.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from common import describe_run, write_json
from study import Run, Study, run_program
from yolox_jax.config import Config, DatasetConfig
from yolox_jax.config.files import load_config
from yolox_jax.config.schedule import scale_schedule

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy", "opencv-python-headless")
MODES: tuple[Literal["dataset", "batch"], ...] = ("dataset", "batch")
EPOCHS = {"shapes": 12, "bccd": 5}


def main(argv: Sequence[str]) -> None:
    """Trains and reports; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    bases = {name: _base(arguments, name) for name in arguments.data}
    configs = {f"{name}_{mode}": _with_partners(base, mode) for name, base in bases.items() for mode in MODES}
    study = Study(arguments.output, [Run(name, seed) for seed in arguments.seeds for name in configs])
    study.prepare(configs)
    result = describe_run(PACKAGES)
    result["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    study.train_all(arguments.jobs)
    result["rows"] = [_summary(study, name, mode) for name in arguments.data for mode in MODES]
    write_json(arguments.output / "results.json", result)
    table = _table(result["rows"])
    (arguments.output / "partners.md").write_text(table)
    print(table)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="partners.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=EPOCHS, default=list(EPOCHS), help="datasets (default: both)")
    parser.add_argument("--bccd", default="datasets/bccd", help="folder of BCCD, in Pascal VOC layout")
    parser.add_argument("--weights", default="published", help="weights of YOLOX-nano to fine-tune on BCCD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of each run (default: 0 1 2)")
    parser.add_argument("--epochs", type=int, help="epochs of each run (default: 12 for shapes, 5 for BCCD)")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each on its share of the cores")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs and the results")
    return parser.parse_args(argv)


def _base(arguments: argparse.Namespace, name: str) -> Config:
    """The run on a dataset, with mosaics and MixUp throughout, evaluated at the end alone."""
    epochs = arguments.epochs or EPOCHS[name]
    if name == "shapes":
        base = load_config("quickstart")
        data = dataclasses.replace(base.data, input_size=(96, 96))
    else:
        base = load_config("finetune")
        base = dataclasses.replace(base, model=dataclasses.replace(base.model, weights=arguments.weights))
        voc = DatasetConfig(format="voc", images=arguments.bccd)
        train, val = dataclasses.replace(voc, split="train"), dataclasses.replace(voc, split="val")
        data = dataclasses.replace(base.data, train=train, val=val, input_size=(320, 320))
    augment = dataclasses.replace(data.augment, mosaic_probability=1.0, mixup_probability=1.0)
    return dataclasses.replace(
        base,
        data=dataclasses.replace(data, augment=augment),
        schedule=scale_schedule(base.schedule, epochs),
        train=dataclasses.replace(base.train, loggers=(), keep_checkpoints=1),
        evaluation=dataclasses.replace(base.evaluation, interval=epochs, losses=False, num_pictures=0),
    )


def _with_partners(config: Config, mode: Literal["dataset", "batch"]) -> Config:
    augment = dataclasses.replace(config.data.augment, partners=mode)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, augment=augment))


def _summary(study: Study, data: str, mode: str) -> dict[str, Any]:
    """AP at the end of each run of a dataset and mode, in the order of the seeds."""
    last = [study.evaluations(run)[-1] for run in study.runs if run.step == f"{data}_{mode}"]
    return {"data": data, "partners": mode, **{figure: [one[figure] for one in last] for figure in ("AP", "AP50")}}


def _table(rows: list[dict[str, Any]]) -> str:
    """Mean AP and AP50 of each dataset and mode as Markdown, with the range over the seeds in parentheses."""
    lines = ["| data | partners | AP | AP50 |", "|---|---|---|---|"]
    for row in rows:
        cells = [
            f"{statistics.fmean(row[figure]):.3f} ({min(row[figure]):.3f} to {max(row[figure]):.3f})"
            for figure in ("AP", "AP50")
        ]
        lines.append(f"| {row['data']} | {row['partners']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_program(main)
