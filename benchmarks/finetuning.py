"""Fine-tunes YOLOX-nano on few images: our recipe, the same with backbone and neck frozen, and the original's modules.

All three see the same batches at the same learning rates. The original's modules need PyTorch and the package
`pixeltable-yolox`; without them, pass --rows finetune frozen. A study that was stopped continues with the same command.
Writes results.json and finetuning.md, a table, to the folder given by --output.
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import describe_run, write_json
from original_package import HOW_TO_INSTALL, is_installed
from study import Run, Study, run_program
from yolox_jax.config import Config, DatasetConfig
from yolox_jax.config.files import load_config
from yolox_jax.config.schedule import scale_schedule
from yolox_jax.data.sources import open_datasets

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "pixeltable-yolox")
ROWS = ("finetune", "frozen", "original")
ORIGINAL = [sys.executable, str(Path(__file__).with_name("original_training.py"))]


def main(argv: Sequence[str]) -> None:
    """Trains and reports; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    configs = {
        f"{row}_{images}": _config(arguments, row, images, epochs)
        for images, epochs in zip(arguments.images, arguments.epochs, strict=True)
        for row in arguments.rows
    }
    runs = [Run(name, seed) for seed in arguments.seeds for name in configs]
    programs = {name: ORIGINAL for name in configs if name.startswith("original")}
    study = Study(arguments.output, runs, programs)
    study.prepare(configs)
    result = describe_run(PACKAGES)
    result["settings"] = {name: str(value) for name, value in vars(arguments).items()}
    study.train_all(arguments.jobs)
    result["rows"] = [_summary(study, name) for name in configs]
    write_json(arguments.output / "results.json", result)
    table = _table(result["rows"], arguments)
    (arguments.output / "finetuning.md").write_text(table)
    print(table)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="finetuning.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of BCCD, in Pascal VOC layout")
    parser.add_argument("--weights", default="published", help="weights of YOLOX-nano to start from")
    parser.add_argument("--images", type=int, nargs="+", default=[24, 100, 205], help="training images of each setting")
    parser.add_argument("--epochs", type=int, nargs="+", default=[30, 8, 5], help="epochs of each setting")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to train (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of each run (default: 0 1 2)")
    parser.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"), default=[320, 320])
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each on its share of the cores")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs and the results")
    arguments = parser.parse_args(argv)
    if len(arguments.images) != len(arguments.epochs):
        parser.error("--images and --epochs must have the same number of values")
    if "original" in arguments.rows and not is_installed():
        parser.error(f"the original is not installed: {HOW_TO_INSTALL}; or pass --rows finetune frozen")
    return arguments


def _config(arguments: argparse.Namespace, row: str, images: int, epochs: int) -> Config:
    """The recipe on the first share of the images, evaluated at the end alone."""
    base = load_config("finetune")
    voc = DatasetConfig(format="voc", images=arguments.data)
    everything = open_datasets(dataclasses.replace(base.data, train=voc), "train")
    fraction = images / len(everything.records)
    return dataclasses.replace(
        base,
        model=dataclasses.replace(
            base.model, weights=arguments.weights, freeze=("backbone", "neck") if row == "frozen" else ()
        ),
        data=dataclasses.replace(
            base.data,
            train=dataclasses.replace(voc, split="train", fraction=fraction),
            val=dataclasses.replace(voc, split="val"),
            input_size=tuple(arguments.input_size),
        ),
        schedule=scale_schedule(base.schedule, epochs),
        train=dataclasses.replace(base.train, loggers=(), keep_checkpoints=1),
        evaluation=dataclasses.replace(base.evaluation, interval=epochs, losses=False, num_pictures=0),
    )


def _summary(study: Study, name: str) -> dict[str, Any]:
    """AP at the end of each run of a row."""
    last = [study.evaluations(run)[-1] for run in study.runs if run.step == name]
    row, _, images = name.rpartition("_")
    return {"row": row, "images": int(images), **{figure: [one[figure] for one in last] for figure in ("AP", "AP50")}}


def _table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Mean AP of each setting as Markdown, with the range over the seeds in parentheses."""
    lines = ["| images | epochs | " + " | ".join(arguments.rows) + " |", "|---" * (2 + len(arguments.rows)) + "|"]
    for images, epochs in zip(arguments.images, arguments.epochs, strict=True):
        found = {row["row"]: row["AP"] for row in rows if row["images"] == images}
        cells = [f"{statistics.fmean(aps):.3f} ({min(aps):.3f} to {max(aps):.3f})" for aps in found.values()]
        lines.append(f"| {images} | {epochs} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_program(main)
