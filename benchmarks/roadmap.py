"""Climbs the paper's roadmap on a dataset: trains every step from a YOLOv3 baseline to YOLOX, with several seeds.

The steps are those of table 2 of the paper, and OTA (docs/roadmap.md). They change the config given by --base, whose
augmentation is the strong one. Steps with anchor boxes take them from the sizes of the training objects, as `yolox-jax
data anchors` does. Each run is a process of its own; a study that was stopped continues with the same command.

The default is a small study: YOLOX-nano on generated shapes at 96x96 px for 12 epochs, about four minutes of CPU time
for each of 24 runs. Writes results.json, roadmap.md (a table) and roadmap.png to the folder given by --output.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from common import describe_run
from common import write_json as write_result
from processes import environment
from roadmap_report import PAPER, plot_steps, summarise_step, write_table
from yolox_jax import create_model, summarize
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import config_of_run, load_config, run_settings
from yolox_jax.config.roadmap import ladder
from yolox_jax.config.schedule import scale_schedule
from yolox_jax.data.anchor_sizes import cluster_sizes, measure_fit
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.doctor.annotations import sizes_to_train_on
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.at_path import datasets_at
from yolox_jax.files import write_json
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory

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
    result["steps"] = [study.summary(name, config, dataset) for name, config in steps.items()]
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


@dataclasses.dataclass(frozen=True)
class Run:
    """One step with one seed."""

    step: str
    seed: int

    def __str__(self) -> str:
        return f"{self.step}_{self.seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """The runs of a study and their files."""

    folder: Path
    runs: list[Run]

    def prepare(self, steps: dict[str, Config]) -> None:
        """Writes the config of each run.

        Raises:
            ConfigError: The folder holds a run with other settings.
        """
        (self.folder / "configs").mkdir(parents=True, exist_ok=True)
        for run in self.runs:
            config, path = dataclasses.replace(steps[run.step], seed=run.seed), self._config(run)
            if not path.exists():
                write_json(path, run_settings(config))
            elif config_of_run(json.loads(path.read_bytes())) != config:
                raise ConfigError(f"{path} is of a study with other settings: pass another --output, or delete it")

    def train_all(self, jobs: int) -> None:
        """Trains the runs that are not finished, `jobs` at a time, each on cores of its own."""
        left = [run for run in self.runs if not self._is_finished(run)]
        print(f"{len(self.runs)} runs, {len(self.runs) - len(left)} of them finished before", flush=True)
        progress = Progress(len(self.runs), len(left))
        cores, free = sorted(os.sched_getaffinity(0)), SimpleQueue[list[int]]()
        for job in range(jobs):
            free.put(cores[job::jobs])
        # Those that wait in the queue are cancelled when one fails.
        with ThreadPoolExecutor(jobs) as pool:
            tasks = [pool.submit(self._train, run, free, progress) for run in left]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _train(self, run: Run, free: SimpleQueue[list[int]], progress: "Progress") -> None:
        cores, start = free.get(), time.monotonic()
        os.sched_setaffinity(0, cores)  # of this thread, from which the process inherits it
        command = [sys.executable, "-m", "yolox_jax", "train", "--config", str(self._config(run))]
        log = self.folder / "configs" / f"{run}.log"
        with log.open("a") as output:
            code = subprocess.run(
                [*command, "--workdir", str(self._directory(run).root), "--resume"],
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        free.put(cores)
        if code != 0 or not self._is_finished(run):
            raise SystemExit(f"{run} ended with code {code}; see {log}. The same command continues the study.")
        progress.finished(run, self.evaluations(run)[-1]["AP"], time.monotonic() - start)

    def summary(self, step: str, config: Config, dataset: Dataset) -> dict[str, Any]:
        """The results of a step over its seeds."""
        model = summarize(create_model(config.model, len(dataset.class_names)), config.data.input_size)
        results = [self._result(run) for run in self.runs if run.step == step]
        return summarise_step(step, results, parameters=model.parameters, gflops=model.gflops)

    def _result(self, run: Run) -> dict[str, Any]:
        evaluations = self.evaluations(run)
        steps = [record for record in read_metrics(self._directory(run).metrics) if record["kind"] == "train"]
        rates = sorted(record["images_per_second"] for record in steps)
        return {
            "seed": run.seed,
            **{name: evaluations[-1][name] for name in ("AP", "AP50", "AP75")},
            "best_AP": max(evaluation["AP"] for evaluation in evaluations),
            "images_per_second": round(rates[len(rates) // 2], 2),
        }

    def evaluations(self, run: Run) -> list[dict[str, Any]]:
        """The evaluations of a run."""
        records = read_metrics(self._directory(run).metrics)
        return [record for record in records if record["kind"] == "evaluation"]

    def _is_finished(self, run: Run) -> bool:
        epochs = json.loads(self._config(run).read_text())["schedule"]["epochs"]
        return any(evaluation["epoch"] == epochs for evaluation in self.evaluations(run))

    def _config(self, run: Run) -> Path:
        return self.folder / "configs" / f"{run}.json"

    def _directory(self, run: Run) -> RunDirectory:
        return RunDirectory(self.folder / "runs" / str(run))


class Progress:
    """Prints each finished run, and how long the others will take at the same pace."""

    def __init__(self, total: int, left: int) -> None:
        self._total, self._left = total, left
        self._start, self._done = time.monotonic(), 0

    def finished(self, run: Run, ap: float | None, seconds: float) -> None:
        """Takes note of a run; called from several threads."""
        self._done += 1
        waiting = self._left - self._done
        left_s = (time.monotonic() - self._start) / self._done * waiting
        print(
            f"{self._total - waiting}/{self._total} {run}: AP {ap or 0:.4f} in {seconds:.0f} s"
            + (f"; about {left_s / 60:.0f} min left" if waiting else ""),
            flush=True,
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command continues the study") from None
